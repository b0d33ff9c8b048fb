"""What machine this is: hardware, software, and the code that was measured. Needs no torch."""

import os
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated

import msgspec
import psutil
import pynvml
from msgspec import Meta

from ..devices import available_cores, torch_missing
from ..devices.limits import CGROUPS
from ..devices.readings import figure, reading
from ..errors import UsageError
from ..figures import Amount, Count
from ..matrix.default_step import PACKAGE as SUBJECT
from ..protocol.subject import PACKAGE, ROOT, files_hash, modules_in, subject_hash
from .checkout import Checkout, NoCheckout
from .git import Git
from .identity import command_output, cpu_info, machine_identity
from .redact import redacted

CODE = (PACKAGE.name, SUBJECT)
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


FolderName = Annotated[str, Meta(pattern=r"^[a-z0-9-][a-z0-9.-]{0,199}$")]
Identity = Annotated[str, Meta(pattern="^[0-9a-f]{0,64}$")]
"""With the name it is that of a folder, which lies nowhere but where results are."""


class Machine(msgspec.Struct, frozen=True):
    """A fingerprint. The host's own name is never read."""

    name: FolderName
    """For people, from the hardware: machines of one model share it."""
    cpu: str
    cores: Count
    available_cores: Count
    memory_bytes: Count
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
    cpu_quota: Amount | None = None
    """Cores' worth of time that a control group lets it use; None where it sets no quota."""
    identity: Identity = ""
    """See `machine_identity`; empty where it is not known."""

    @property
    def label(self) -> str:
        """The name and the first digits of the identity: what its results' folder is called.

        Two machines of one name have two labels.
        """
        return f"{self.name}-{self.identity[:6]}" if self.identity else self.name

    @property
    def revision(self) -> str:
        """The commit, marked where the code differs from it."""
        return self.commit + ("-dirty" if self.dirty else "")

    @property
    def quota(self) -> str:
        """For example "0.5 cores", or "none"."""
        return "none" if self.cpu_quota is None else f"{self.cpu_quota:.4g} cores"

    @property
    def cores_used(self) -> str:
        """For example "2 of 2 cores, CPU quota 0.5 cores"."""
        quota = "" if self.cpu_quota is None else f", CPU quota {self.quota}"
        return f"{self.available_cores} of {self.cores} cores{quota}"


def fingerprint(own: Path | None = None) -> Machine:
    """This machine, this interpreter and the code that is measured.

    `own` is the folder of a user's own steps, at the top of its checkout; where None is given, they
    are the default step's. Raises UsageError where there is no torch.
    """
    cpu, gpus = _cpu_model(), _gpus()
    names = tuple(name for name, _ in gpus)
    available = available_cores()
    cores = figure(int, psutil.cpu_count) or available
    memory = figure(int, lambda: psutil.virtual_memory().total) or 0
    commit, dirty, _ = _commit(own)
    return Machine(
        name="-".join([_slug(cpu), f"{cores}c", f"{round(memory / 2**30)}gib", *_counted(names)]),
        cpu=cpu,
        cores=cores,
        available_cores=available,
        memory_bytes=memory,
        os=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        torch=_torch_version(),
        environment={
            name: redacted(value)
            for name, value in sorted(os.environ.items())
            if ENVIRONMENT.fullmatch(name) or name in ENVIRONMENT_NAMES
        },
        commit=commit,
        dirty=dirty,
        code_hash=_code_hash(own),
        gpus=names,
        identity=machine_identity(cores, memory, [uuid for _, uuid in gpus]),
        cpu_quota=CGROUPS.cpu_quota(),
    )


def _torch_version() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise torch_missing() from None


def _cpu_model() -> str:
    if platform.system() == "Linux":
        return cpu_info().get("model name") or f"{platform.machine()} CPU"
    if platform.system() == "Darwin":
        return command_output("sysctl", "-n", "machdep.cpu.brand_string") or "unknown"
    return platform.processor() or platform.machine()


def _gpus() -> Sequence[tuple[str, str]]:
    """Name and UUID of each NVIDIA GPU; none where there is no driver."""
    return reading(_driver_gpus) or ()


def _driver_gpus() -> list[tuple[str, str]]:
    pynvml.nvmlInit()
    handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
    name, uuid = pynvml.nvmlDeviceGetName, pynvml.nvmlDeviceGetUUID
    return [(str(name(handle)), str(uuid(handle))) for handle in handles]


def _counted(gpus: tuple[str, ...]) -> list[str]:
    """For example ["nvidia-h200"], or ["2x-nvidia-h200"]."""
    counts = {_slug(gpu): gpus.count(gpu) for gpu in gpus}
    return [name if count == 1 else f"{count}x-{name}" for name, count in counts.items()]


def _slug(text: str) -> str:
    """For example "Intel(R) Xeon(R) Processor" as "intel-xeon"."""
    words = re.sub(r"\((R|TM|r|tm)\)|@.*", " ", text).lower()
    return "-".join(w for w in re.findall(r"[a-z0-9.]+", words) if w not in ("cpu", "processor"))


def commit_unknown(own: Path | None = None) -> str | None:
    """Why git does not give the commit; None where it does, or where this is no checkout."""
    return _commit(own)[2]


def _commit(own: Path | None) -> tuple[str, bool, str | None]:
    """The commit, whether the code differs from it, and, in a checkout, why git gives none."""
    root, about, code = (ROOT, (SUBJECT,), CODE) if own is None else (own, (), ())
    try:
        checkout = Checkout(root, *about)
        commit = checkout.commit("HEAD")
        return commit[:10], checkout.dirty(commit, *code), None
    except NoCheckout:
        return "unknown", False, None
    except UsageError as error:
        in_checkout = any((folder / ".git").exists() for folder in (root, *root.parents))
        return "unknown", False, str(error) if in_checkout else None


def _code_hash(own: Path | None) -> str:
    """Of the instrument and the default step, or of the instrument and a user's Python files."""
    if own is None:
        return "-".join(subject_hash(ROOT / folder)[:8] for folder in CODE)
    try:
        files = [own / path for path in Git(own).working_files() if path.endswith(".py")]
    except UsageError:  # there is no git
        files = []
    theirs = files_hash(own, files or modules_in(own))
    return f"{subject_hash(PACKAGE)[:8]}-{theirs[:8]}"
