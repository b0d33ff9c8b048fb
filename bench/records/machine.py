"""What machine this is: hardware, software, and the code that was measured. Needs no torch."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import msgspec
import psutil
import pynvml

from bench.devices import available_cores, torch_missing
from bench.errors import UsageError
from bench.git import Checkout, NoCheckout
from bench.measure.anonymous import anonymous
from bench.measure.protocol import subject_hash
from bench.measure.worker_process import ROOT

CODE = ("bench", "sumnet")
"""What a timing depends on: results land in the same tree and do not make it dirty."""

ENVIRONMENT = re.compile(
    r"(ATEN|CUDA|DNNL|GOMP|KMP|MALLOC|MKL|NVIDIA|OMP|ONEDNN|OPENBLAS|PYTORCH|TORCH\w*|TRITON)_\w*"
)
ENVIRONMENT_NAMES = (
    "CXX",
    "GLIBC_TUNABLES",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PYTHONHASHSEED",
    "PYTHONMALLOC",
    "PYTHONOPTIMIZE",
)


class Machine(msgspec.Struct, frozen=True):
    """A fingerprint. The name comes from the hardware; the host's own name is never read."""

    name: str
    cpu: str
    cores: int
    available_cores: int
    memory_bytes: int
    os: str
    python: str
    torch: str
    environment: dict[str, str]
    """Variables that change how torch or its allocators run."""
    commit: str
    """Of the code measured; "unknown" outside a git checkout, or where git cannot read it."""
    dirty: bool
    """Whether the code, and only the code, differs from that commit; its Python files are meant."""
    code_hash: str
    gpus: tuple[str, ...] = ()
    """NVIDIA's, as the driver names them."""

    @property
    def revision(self) -> str:
        """The commit, marked where the code differs from it."""
        return self.commit + ("-dirty" if self.dirty else "")


def fingerprint() -> Machine:
    """This machine, this interpreter and this code. Raises UsageError where there is no torch."""
    cpu, gpus = _cpu_model(), _gpus()
    cores = psutil.cpu_count() or 1
    memory = psutil.virtual_memory().total
    try:
        commit, dirty = _commit()
    except UsageError:  # see commit_unknown
        commit, dirty = "unknown", False
    return Machine(
        name="-".join([_slug(cpu), f"{cores}c", f"{round(memory / 2**30)}gib", *_counted(gpus)]),
        cpu=cpu,
        cores=cores,
        available_cores=available_cores(),
        memory_bytes=memory,
        os=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        torch=_torch_version(),
        environment={
            name: anonymous(value)
            for name, value in sorted(os.environ.items())
            if ENVIRONMENT.fullmatch(name) or name in ENVIRONMENT_NAMES
        },
        commit=commit,
        dirty=dirty,
        code_hash="-".join(subject_hash(ROOT / folder)[:8] for folder in CODE),
        gpus=gpus,
    )


def _torch_version() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise torch_missing() from None


def _cpu_model() -> str:
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
        return f"{platform.machine()} CPU"
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or "unknown"
    return platform.processor() or platform.machine()


def _gpus() -> tuple[str, ...]:
    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return tuple(pynvml.nvmlDeviceGetName(handle) for handle in handles)
    except pynvml.NVMLError:  # no driver, or one that will not tell
        return ()


def _counted(gpus: tuple[str, ...]) -> list[str]:
    """For example ["nvidia-h200"], or ["2x-nvidia-h200"]."""
    counts = {_slug(gpu): gpus.count(gpu) for gpu in gpus}
    return [name if count == 1 else f"{count}x-{name}" for name, count in counts.items()]


def _slug(text: str) -> str:
    """For example "Intel(R) Xeon(R) Processor" as "intel-xeon"."""
    words = re.sub(r"\((R|TM|r|tm)\)|@.*", " ", text).lower()
    return "-".join(w for w in re.findall(r"[a-z0-9.]+", words) if w not in ("cpu", "processor"))


def commit_unknown() -> str | None:
    """Why git does not say the commit; None where it does, or where this is no checkout."""
    try:
        _commit()
    except NoCheckout:
        return None
    except UsageError as error:
        return str(error)
    return None


def _commit() -> tuple[str, bool]:
    """The commit, and whether the code differs from it. Raises UsageError where git says none."""
    checkout = Checkout(ROOT)
    commit = checkout.commit("HEAD")
    return commit[:10], checkout.dirty(commit, *CODE)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
