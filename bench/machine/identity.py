"""Which machine this is: tells two machines of one name apart, and names no person.

A marketing name such as "Intel(R) Xeon(R) Processor" is shared by machines of very different
speeds. The identity is a keyed hash over what distinguishes a machine; it cannot be turned back
into any of it. It is evidence, not proof: METHODOLOGY.md has its limits.
"""

import hashlib
import hmac
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ..devices.readings import reading

APPLICATION = b"sumnet-bench machine identity 1"
"""Makes the hash specific to this program, as machine-id(5) asks: the id itself stays secret."""
DIGITS = 16
"""Hexadecimal digits of an identity: 64 bits, so that no two machines share one by chance."""

MACHINE_IDS = ("etc/machine-id", "var/lib/dbus/machine-id")
CPU_FACTS = (
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "microcode",
    "CPU implementer",
    "CPU variant",
    "CPU part",
    "CPU revision",
)
"""Lines of /proc/cpuinfo, on x86-64 and on ARM, that identify the processor."""
MAC_CPU_FACTS = ("brand_string", "family", "model", "stepping", "microcode_version")
VIRTUAL_MACHINE = (
    "sys/hypervisor/type",
    "sys/class/dmi/id/sys_vendor",
    "sys/class/dmi/id/product_name",
)
CACHES = "sys/devices/system/cpu/cpu0/cache"
IO_PLATFORM_UUID = re.compile(r'"IOPlatformUUID" = "([0-9A-F-]+)"')


def machine_identity(
    cores: int, memory_bytes: int, gpu_uuids: Iterable[str], root: Path = Path("/")
) -> str:
    """The identity, DIGITS hexadecimal digits; what is unavailable counts as absent.

    It covers the machine's own id, the CPU (vendor, family, model, stepping, microcode), its cores
    and caches, the memory in whole GiB (of which a kernel takes some), the hypervisor, and the
    GPUs. `root` is where the files of the system are looked for.
    """
    if platform.system() == "Darwin":
        own_id, facts = _mac_id(), [f"{name}={_sysctl(name)}" for name in MAC_CPU_FACTS]
    else:
        own_id, facts = _machine_id(root), [*_cpu(root), *_caches(root)]
        facts += [f"{name}={_text(root / name)}" for name in VIRTUAL_MACHINE]
    facts += [f"cores={cores}", f"memory={round(memory_bytes / 2**30)}"]
    facts += [f"gpu={uuid}" for uuid in sorted(gpu_uuids)]
    message = APPLICATION + b"\0" + "\n".join(facts).encode()
    return hmac.new(own_id.encode(), message, hashlib.sha256).hexdigest()[:DIGITS]


def _machine_id(root: Path) -> str:
    """As machine-id(5) has it; nothing in containers whose image has none."""
    for name in MACHINE_IDS:
        if re.fullmatch("[0-9a-f]{32}", found := _text(root / name)):
            return found
    return ""


def cpu_info(root: Path = Path("/")) -> dict[str, str]:
    """The lines of /proc/cpuinfo on the first processor; all are taken to be alike."""
    first, _, _ = _text(root / "proc/cpuinfo").partition("\n\n")
    return dict(re.findall(r"^(.+?)\s*: (.*)$", first, flags=re.MULTILINE))


def _cpu(root: Path) -> list[str]:
    facts = cpu_info(root)
    virtual = "hypervisor" in facts.get("flags", "").split()
    return [f"{name}={facts[name]}" for name in CPU_FACTS if name in facts] + ["virtual"] * virtual


def _caches(root: Path) -> list[str]:
    return [
        "cache=" + " ".join(_text(index / part) for part in ("level", "type", "size"))
        for index in sorted((root / CACHES).glob("index*"))
    ]


def _mac_id() -> str:
    found = IO_PLATFORM_UUID.search(command_output("ioreg", "-rd1", "-c", "IOPlatformExpertDevice"))
    return found[1] if found else ""


def _sysctl(name: str) -> str:
    return command_output("sysctl", "-n", f"machdep.cpu.{name}")


def command_output(*command: str) -> str:
    """What a command prints; nothing where it fails, or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _text(path: Path) -> str:
    return (reading(lambda: path.read_text(errors="replace")) or "").strip()
