"""An identity tells machines apart, and nothing of whose they are."""

import re
from pathlib import Path

import pytest

from bench.machine.fingerprint import fingerprint
from bench.machine.identity import machine_identity

ID = "0f" * 16
CPU = {
    "vendor_id": "GenuineIntel",
    "cpu family": "6",
    "model": "143",
    "model name": "Intel(R) Xeon(R) Processor",
    "stepping": "8",
    "microcode": "0x2b000603",
    "flags": "fpu vme hypervisor",
}


def lay(root: Path, **files: str) -> Path:
    """The files of a system that the identity reads; `__` stands for a slash."""
    cpu = "".join(f"{name}\t: {value}\n" for name, value in CPU.items())
    made = {
        "etc__machine-id": ID + "\n",
        "proc__cpuinfo": f"processor\t: 0\n{cpu}\nprocessor\t: 1\n{cpu}",
        "sys__class__dmi__id__sys_vendor": "Cloud\n",
        "sys__devices__system__cpu__cpu0__cache__index0__size": "48K\n",
    } | files
    for name, text in made.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def identity(root: Path, cores: int = 2, gib: float = 24.0, *uuids: str) -> str:
    return machine_identity(cores, round(gib * 2**30), uuids, root)


def test_identity_is_the_same_each_time_and_for_what_a_kernel_keeps_of_the_memory(
    tmp_path: Path,
) -> None:
    root = lay(tmp_path)
    assert re.fullmatch("[0-9a-f]{16}", identity(root))
    assert identity(root) == identity(root, gib=23.6)
    assert identity(root, 2, 24, "GPU-a", "GPU-b") == identity(root, 2, 24, "GPU-b", "GPU-a")


@pytest.mark.parametrize(
    "files",
    [
        {"etc__machine-id": "1e" * 16},
        {"proc__cpuinfo": "model name\t: Intel(R) Xeon(R) Processor\n"},
        {"sys__class__dmi__id__sys_vendor": "Another cloud"},
        {"sys__class__dmi__id__product_name": "m5.large"},
        {"sys__devices__system__cpu__cpu0__cache__index0__size": "32K\n"},
        {"sys__devices__system__cpu__cpu0__cache__index1__size": "2048K\n"},
    ],
)
def test_machines_of_one_marketing_name_differ(tmp_path: Path, files: dict[str, str]) -> None:
    assert identity(lay(tmp_path / "one")) != identity(lay(tmp_path / "other", **files))


@pytest.mark.parametrize("name", ["cpu family", "model", "stepping", "microcode", "flags"])
def test_processors_of_one_marketing_name_differ(tmp_path: Path, name: str) -> None:
    other = "".join(f"{n}\t: {'7' if n == name else v}\n" for n, v in CPU.items())
    assert identity(lay(tmp_path / "one")) != identity(lay(tmp_path / "other", proc__cpuinfo=other))


def test_cores_memory_and_gpus_count(tmp_path: Path) -> None:
    root = lay(tmp_path)
    found = {
        identity(root),
        identity(root, cores=4),
        identity(root, gib=32),
        identity(root, 2, 24, "GPU-a"),
        identity(root, 2, 24, "GPU-b"),
        identity(root, 2, 24, "GPU-a", "GPU-a"),
    }
    assert len(found) == 6


def test_clock_speed_and_other_lines_that_change_do_not_count(tmp_path: Path) -> None:
    moving = "".join(f"{n}\t: {v}\n" for n, v in CPU.items()) + "cpu MHz\t: 2700.1\n"
    assert identity(lay(tmp_path / "one")) == identity(
        lay(tmp_path / "other", proc__cpuinfo=moving)
    )


@pytest.mark.parametrize("content", ["", "uninitialized\n", "00" * 15, "not hexadecimal" * 3])
def test_image_without_a_machine_id_still_has_an_identity(tmp_path: Path, content: str) -> None:
    empty = identity(lay(tmp_path / "one", **{"etc__machine-id": content}))
    assert re.fullmatch("[0-9a-f]{16}", empty)
    assert empty == identity(lay(tmp_path / "other", **{"etc__machine-id": ""}))
    assert re.fullmatch("[0-9a-f]{16}", identity(tmp_path / "nothing at all"))


def test_nothing_of_the_machines_id_is_in_it(tmp_path: Path) -> None:
    found = identity(lay(tmp_path))
    assert found not in ID and ID[:8] not in found


def test_fingerprint_has_an_identity_and_a_folder_of_its_own() -> None:
    machine = fingerprint()
    assert re.fullmatch("[0-9a-f]{16}", machine.identity)
    assert machine.label == f"{machine.name}-{machine.identity[:6]}"
