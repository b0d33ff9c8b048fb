"""The speed a run's quiet times refer to: the floor of each reference loop that serves it.

A floor is the reading a reference loop reached when undisturbed. The lowest that a machine has
shown is the one to refer to, where a run came near it. A run that did not, because the machine is
in a slower state or the floor is another machine's, refers to the lowest floor of its own state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..devices import kind_of
from ..machine.circumstances import MACHINE, SOFTWARE, key
from ..matrix.case import Case
from ..matrix.ceiling import Ceiling
from ..records.run_file import RunRecord
from .estimates import QUIET_TOLERANCE, floor_of


@dataclass(frozen=True)
class Floor:
    """Nanoseconds: the floor that serves a run, and the lowest that is known."""

    serving_ns: int
    lowest_ns: int

    @property
    def slower(self) -> float:
        """How many times slower than its best the machine was, next to what serves; at least 1."""
        return self.serving_ns / self.lowest_ns


Floors = dict[str, Floor]


def own_floors(run: RunRecord) -> dict[str, int]:
    """This run's own floors, nanoseconds, by reference loop and what else its speed depends on."""
    readings_of: dict[str, list[int]] = {}
    for what, blocks in run.measured():
        for loop, readings in blocks.readings_ns.items():
            readings_of.setdefault(floor_key(run, what, loop), []).extend(readings)
    return {name: floor_of(values) for name, values in sorted(readings_of.items())}


def floor_key(run: RunRecord, what: Case | Ceiling, reference_loop: str) -> str:
    """What a floor is valid for, within one machine and its software."""
    floor = f"{reference_loop}, t{what.threads}, {run.plan.environment}"
    # What is not pinned may run its reference loops elsewhere.
    return floor if kind_of(what.device).pinned else f"{floor}, {what.device}"


def floor_among(own_ns: int, known_ns: Iterable[int]) -> Floor:
    """The floor that serves a run whose own is `own_ns`, among those known of its machine.

    Floors of one state follow each other within QUIET_TOLERANCE; a wider gap separates two states.
    The lowest of the run's own state serves it, so that runs in one state refer to one speed.
    """
    known = sorted({own_ns, *known_ns})
    serving = own_ns
    for floor in reversed(known[: known.index(own_ns)]):
        if serving > (1 + QUIET_TOLERANCE) * floor:
            break
        serving = floor
    return Floor(serving, known[0])


def serving_floors(runs: Sequence[RunRecord]) -> list[Floors]:
    """For each run, key to the floor that serves it, among what these runs know of its machine."""
    known: dict[object, dict[str, list[int]]] = {}
    own = [own_floors(run) for run in runs]
    machines = [known.setdefault(key(run, (*MACHINE, *SOFTWARE)), {}) for run in runs]
    for run, floors, machine in zip(runs, own, machines, strict=True):
        for source in (floors, run.floors_ns, run.lowest_floors_ns):
            for name, floor in source.items():
                machine.setdefault(name, []).append(floor)
    return [
        {name: floor_among(floor, machine[name]) for name, floor in floors.items()}
        for floors, machine in zip(own, machines, strict=True)
    ]
