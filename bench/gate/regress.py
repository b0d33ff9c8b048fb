"""One run of the gate: pairs until every series is settled or time is up, then the verdicts."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import MachineError, UsageError
from ..machine.circumstances import measured_devices
from ..machine.fingerprint import fingerprint
from ..machine.redact import redacted
from ..matrix.comparison import Comparison
from ..matrix.plan import ENVIRONMENTS
from ..protocol.messages import Hello, Interpreter
from ..records.gate_report import GateReport, SeriesVerdict, SideRecord, write_report
from ..records.verdicts import INVALID
from ..runner.pairs import Pairs
from ..runner.pool import Deadlines, shareable
from ..runner.process import Side
from .aa_control import control_moved
from .interim_looks import CONTROLS, FIRST_LOOKS, interim_looks
from .memory import judge_memory
from .reduction import reduce_pair
from .settings import Settings
from .verdicts import decided, judge, outcome_of, verdict_of

ENVIRONMENT = "steady"
"""Of both sides: what malloc gives back to the kernel differs from process to process."""
OMP = "OMP_NUM_THREADS"
ROOM = 1.1
"""A pair is begun only where the time left is so many times what the last ones took."""


@dataclass
class Gate:
    """Measures and judges; the report is on disk after every pair."""

    comparisons: Sequence[Comparison]
    sides: tuple[Side, Side]
    settings: Settings
    path: Path
    on_progress: Callable[[str], None] = lambda text: None
    seed: int = 0
    named: bool = False
    """Whether the cases were asked for by name, so that one that cannot run is an error."""
    nowhere: Sequence[str] = ()
    """Steps that neither side can build, each with the reason."""
    beside_another: bool = False
    """Whether another measurement runs on the machine."""
    pairs_wanted: int | None = None
    """How many pairs to measure, whatever is settled before; None where the looks decide."""

    def run(self) -> GateReport:
        """The report, judged. Raises UsageError where there is nothing that can be judged.

        An interruption leaves what was measured in the report, as invalid.
        """
        started = time.monotonic()
        self._deadline = started + self.settings.budget_s
        draw = random.Random(self.seed)
        self._pairs = Pairs(
            self.comparisons,
            self.sides,
            ENVIRONMENTS[ENVIRONMENT],
            seed=draw.randrange(2**32),
            deadlines=Deadlines.within(self.settings.budget_s),
            on_progress=self.on_progress,
        )
        self._report = report = self._survey()
        wanted = None if self.pairs_wanted is None else [(self.pairs_wanted, 0)]
        write_report(self.path, report)
        try:
            for looked in interim_looks(report.pairs, self._take, draw.shuffle, wanted):
                report.verdicts = judge(
                    report.series, report.pairs, report.unjudged, report.rules, looked
                )
                if looked:
                    counts = Counter(verdict.verdict for verdict in report.verdicts)
                    words = ", ".join(f"{number} {word}" for word, number in counts.items())
                    self.on_progress(f"look at {looked[-1]} pairs: {words}")
                if decided(report.verdicts, report.rules):
                    break
            report.verdicts = [*report.verdicts, *judge_memory(report)]
            moved = None if report.recorded else control_moved(report.pairs)
            report.outcome, report.reason = outcome_of(report.counted, moved)
        except MachineError as error:  # a side that started before does not start any more
            report.verdicts = [SeriesVerdict(c, s, INVALID, str(error)) for c, s in report.series]
            report.outcome, report.reason = INVALID, str(error)
        except UsageError as error:
            report.reason = str(error)
            raise
        except KeyboardInterrupt:
            report.outcome, report.reason = INVALID, f"interrupted after {len(report.pairs)} pairs"
            raise
        finally:
            report.wall_s = round(time.monotonic() - started, 3)
            write_report(self.path, report)
        return report

    def _survey(self) -> GateReport:
        """The report of sides that start and can be measured, as yet without pairs.

        Raises UsageError where one cannot, or is not what was asked for.
        """
        try:
            hellos = self._pairs.survey()
        except MachineError as error:
            raise UsageError(f"this instrument cannot measure the {error}") from None
        for side, hello in zip(self.sides, hellos, strict=True):
            if (wrong := _unexpected(side, hello)) is not None:
                raise UsageError(
                    f"{wrong}: see what its environment and the files that Python runs at its "
                    "start put on its import path"
                )
        base, head = (
            replace(side, interpreter=hello.interpreter)
            for side, hello in zip(self.sides, hellos, strict=True)
        )
        self.sides = base, head
        self._check_threads(hellos)
        ended = self._pairs.ended
        neither = {c: e.reason for c, e in ended.items() if e.side == "both"}
        if neither and (self.named or len(neither) == len(self.comparisons)):
            lines = [f"  {comparison}: {reason}" for comparison, reason in neither.items()]
            raise UsageError("\n".join(["cannot run here, on either side:", *lines]))
        devices = dict.fromkeys(case.device for c in self.comparisons for case in (c.base, c.head))
        report = GateReport(
            machine=fingerprint(self.sides[1].checkout),
            started_at=time.time(),
            sides=[
                SideRecord(
                    side.name,
                    side.what,
                    hello.subject_hash,
                    hello.python,
                    hello.facts.torch,
                    hello.threads,
                    {k: redacted(v) for k, v in side.environment.items()},
                    shareable(hello).interpreter,
                    measured_devices(hello.facts, devices),
                )
                for side, hello in zip(self.sides, hellos, strict=True)
            ],
            rules=self.settings.rules,
            budget_s=self.settings.budget_s,
            environment=ENVIRONMENT,
            seed=self.seed,
            comparisons=list(self.comparisons),
            # What neither side can do here is no difference between them: reported, not judged.
            series=[(c.id, s) for c in self.comparisons if c.id not in neither for s in c.series],
            nowhere=list(self.nowhere),
            recorded=self.pairs_wanted is not None,
            beside_another=self.beside_another,
        )
        self._note_ended(report)
        return report

    def _check_threads(self, hellos: tuple[Hello, Hello]) -> None:
        """Raise UsageError where the only variable that differs makes no difference."""
        base, head = self.sides
        threads, same = hellos[0].threads, hellos[0].subject_hash == hellos[1].subject_hash
        if (
            set(base.environment) == {OMP}
            and not head.environment
            and same
            and base.python == head.python
            and all(c.base == c.head and c.base.threads == threads for c in self.comparisons)
        ):
            raise UsageError(
                f"{OMP}={base.environment[OMP]} changes nothing: all cases compute with "
                f"{threads} threads anyway; name another number, or --threads"
            )

    def _take(self, control: bool) -> bool:
        """Measure a pair; False where time is up or no comparison is open any more."""
        report = self._report
        last = [pair.wall_s for pair in report.pairs[-3:]]
        if time.monotonic() + ROOM * max(last, default=0.0) > self._deadline:
            return False
        pair = self._pairs.measure(control=control)
        self._note_ended(report)
        if pair is None:
            return False
        base, head = self.sides
        for side, hello in zip((base, base if control else head), pair.hellos, strict=True):
            if (wrong := _unexpected(side, hello)) is not None:
                raise MachineError(f"the {side.name} changed while it was measured: {wrong}")
        report.pairs.append(reduce_pair(pair, report.series, report.started_at))
        write_report(self.path, report)
        number = sum(record.control == control for record in report.pairs)
        self.on_progress(f"{'control pair' if control else 'pair'} {number}: {pair.wall_s:.1f} s")
        self._check_budget()
        return True

    def _check_budget(self) -> None:
        """Raise UsageError as soon as it is clear that time will be up before the first look.

        Not after one pair alone, which may compile what later ones find compiled.
        """
        taken = self._report.pairs
        if not self._report.recorded and len(taken) == 2:
            wanted = (FIRST_LOOKS[0] + CONTROLS[0]) * min(pair.wall_s for pair in taken)
            if wanted > self.settings.budget_s:
                raise UsageError(
                    f"the fewest pairs that a verdict needs would take {wanted:.0f} s, more than "
                    f"the budget of {self.settings.budget_s:.0f} s: raise --budget, or name fewer "
                    "cases"
                )

    def _note_ended(self, report: GateReport) -> None:
        """Have the report say what is not measured any further, and what verdict that is."""
        measured = bool(report.pairs)
        for comparison, ended in self._pairs.ended.items():
            if comparison not in report.ended:
                report.ended[comparison] = f"{ended.status} on {ended.side}: {ended.reason}"
                report.ended_as[comparison] = verdict_of(ended, measured=measured)
        report.impossible_blocks = self._pairs.impossible_blocks
        report.without_phases = dict(self._pairs.without_phases)
        report.without_memory = dict(self._pairs.without_memory)


def _unexpected(side: Side, hello: Hello) -> str | None:
    """What a side's worker loaded that the side does not have; None where there is none."""
    if side.subject_hash not in (None, hello.subject_hash):
        return (
            f"the {side.name}'s worker loaded another subject ({hello.subject_hash}) than it was "
            f"given ({side.subject_hash})"
        )
    if side.interpreter not in (None, hello.interpreter):
        return (
            f"the {side.name}'s worker runs on {_words(hello.interpreter)}, and not on "
            f"{_words(side.interpreter)}"
        )
    return None


def _words(found: Interpreter | None) -> str:
    if found is None:
        return "an unknown interpreter"
    text = f"{found.python} of {found.prefix} with torch {found.torch} in {found.torch_folder}"
    return redacted(text)
