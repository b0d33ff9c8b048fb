"""What the coordinator and a worker say to each other: one JSON object a line, each way.

The protocol knows nothing of runs, replicates or sides: whoever starts the workers gives them
their meaning.
"""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from bench.matrix.case import PHASES, WHOLE, Case
from bench.matrix.support import Facts
from sumnet.optimizers import LEARNING_RATE

PHASES_KIND = "phases"
WHOLE_KIND = WHOLE
KINDS: dict[str, tuple[str, ...]] = {PHASES_KIND: PHASES, WHOLE_KIND: (WHOLE,)}
"""Kind of block to the series it yields: three phases out of one pass, or the whole step."""

QUANTILES = (10, 25, 50, 90)
"""The percentiles that stand for a block's samples."""


Status = Literal["ok", "unsupported", "invalid", "failed", "oom", "timeout", "killed"]
"""What became of a case."""


class Prepare(msgspec.Struct, tag=True, frozen=True):
    """Build, verify and warm up a case, and keep it resident."""

    case: Case
    lr: float = LEARNING_RATE


class Measure(msgspec.Struct, tag=True, frozen=True):
    """Time one block of a prepared case: `samples` steps, and one before them that is discarded."""

    case: str
    kind: str
    samples: int


Request = Prepare | Measure


class Hello(msgspec.Struct, tag=True, frozen=True):
    """The worker's first words: what it is and what subject it loaded."""

    facts: Facts
    python: str
    subject_hash: str
    threads: int
    cores: list[int]
    """The cores it is bound to; empty where it is not."""


class Prepared(msgspec.Struct, tag=True, frozen=True):
    """The case is verified, warm and resident."""

    case: str
    step_ns: int
    """Duration of one warm step."""
    warmup_steps: int
    loss_ratio: float
    """Loss after the verification's steps over the loss before them."""
    graphs: int
    """Graphs torch.compile captured for this case."""
    metronomes: tuple[str, ...]
    """The metronomes that are heard before its blocks."""


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The case cannot be measured; the worker itself is well, unless `status` is "oom"."""

    case: str
    status: Status
    reason: str


class Block(msgspec.Struct, tag=True, frozen=True):
    """One block's evidence."""

    case: str
    kind: str
    samples: int
    elapsed_ns: int
    """Wall time of all its steps, the discarded one too."""
    readings_ns: dict[str, int]
    """Metronome to its reading just before the block."""
    quantiles_ns: dict[str, list[int]]
    """Series to its samples' percentiles, as QUANTILES has them."""


Reply = Hello | Prepared | Refused | Block


def subject_hash(folder: Path) -> str:
    """A short hash over a package's Python files, their names and contents."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        name = file.relative_to(folder).as_posix().encode()
        digest.update(name + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
