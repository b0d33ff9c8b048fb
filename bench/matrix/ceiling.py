"""Ceilings: the rates and costs a machine is measured to reach, each with an id of its own."""

from collections.abc import Iterable, Sequence

import msgspec

from ..devices import kind_of
from ..figures import Positive
from .case import Case
from .precision import PRECISIONS

COPY, TRIAD, MATMUL = "copy", "triad", "matmul"
OP, NODE = "op", "node"
PYTHON_CALL, ALLOCATION, FRESH_MEMORY = "python-call", "allocation", "fresh-memory"
LAUNCH, SYNC, EVENT_PAIR = "launch", "sync", "event-pair"
TRANSFERS = ("to-device", "to-device-pinned", "from-device", "from-device-pinned")

UNITS = {COPY: "B", TRIAD: "B", MATMUL: "FLOP", FRESH_MEMORY: "B", **dict.fromkeys(TRANSFERS, "B")}
"""What a rate counts. Ceilings without a unit are costs: seconds for one."""

CACHED = tuple(2**power for power in range(15, 29))
"""Bytes that all arrays of a copy or triad take together on a CPU: from what fits a first cache,
and takes much longer than the call, to 256 MiB: memory, where caches are smaller."""
QUEUED = tuple(2**power for power in range(20, 31))
"""The same for an accelerator."""
CPU_WIDTHS, ACCELERATOR_WIDTHS = (64, 128, 256, 512, 1024), (1024, 4096, 8192)
"""Rows and columns of the matrices that are multiplied."""
SLOW, SLOW_WIDTHS = "float16", CPU_WIDTHS[:-1]
"""A dtype that most CPUs have no units for: the widest product in it takes a second."""
PEAK_WIDTH = 512
"""The least width whose rate may stand for a peak."""


class Ceiling(msgspec.Struct, frozen=True):
    """One rate or cost, on one device with so many threads."""

    what: str
    device: str = "cpu"
    threads: Positive = 1
    dtype: str | None = None
    """Of the matrices, a value of the dtype axis."""
    size: Positive | None = None
    """Bytes that the arrays take together, or rows and columns of the matrices."""

    @property
    def unit(self) -> str | None:
        """What the rate counts, "B" or "FLOP"; None for a cost."""
        return UNITS.get(self.what)

    @property
    def id(self) -> str:
        """For example `cpu/t1/copy/65536` or `cpu/t1/matmul/float32/512`."""
        parts = (self.device, f"t{self.threads}", self.what, self.dtype, self.size)
        return "/".join(str(part) for part in parts if part is not None)


def ceilings(device: str, threads: int, dtypes: Iterable[str]) -> list[Ceiling]:
    """All ceilings of a device; products in these dtypes."""
    features = kind_of(device)
    sized = [
        Ceiling(what, device, threads, size=size)
        for what in (COPY, TRIAD)
        for size in (QUEUED if features.asynchronous else CACHED)
    ]
    products = [
        Ceiling(MATMUL, device, threads, dtype, width)
        for dtype in dtypes
        for width in _widths(dtype, features.asynchronous)
    ]
    costs = [OP, NODE, PYTHON_CALL, ALLOCATION]
    costs += [LAUNCH, SYNC] if features.asynchronous else [FRESH_MEMORY]
    if features.streams:
        costs += [EVENT_PAIR, *TRANSFERS]
    return [*sized, *products, *(Ceiling(what, device, threads) for what in costs)]


def _widths(dtype: str, asynchronous: bool) -> tuple[int, ...]:
    if asynchronous:
        return ACCELERATOR_WIDTHS
    return SLOW_WIDTHS if dtype == SLOW else CPU_WIDTHS


def ceilings_under(cases: Sequence[Case]) -> list[Ceiling]:
    """The ceilings these cases are held against, on each device with each number of threads."""
    dtypes: dict[tuple[str, int], dict[str, None]] = {}
    for case in cases:
        of_setting = dtypes.setdefault((case.device, case.threads), {"float32": None})
        of_setting[products_dtype(case.dtype)] = None
    return [c for setting, names in dtypes.items() for c in ceilings(*setting, names)]


def products_dtype(dtype: str) -> str:
    """The dtype, a value of that axis without autocast, in which a case multiplies matrices."""
    return PRECISIONS[dtype].autocast or dtype
