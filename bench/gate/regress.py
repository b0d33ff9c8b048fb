"""One run of the gate: pairs until every series is settled or time is up, then the verdicts."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import MachineError, UsageError
from bench.gate.aa_control import control_moved
from bench.gate.interim_looks import FIRST_LOOKS, controls_by, looks, slots
from bench.gate.reduction import reduce_pair
from bench.gate.settings import Settings
from bench.gate.sides import Made
from bench.gate.verdicts import decided, judge, outcome_of
from bench.machine.fingerprint import fingerprint
from bench.machine.redact import redacted
from bench.matrix.comparison import Comparison
from bench.matrix.plan import ENVIRONMENTS
from bench.protocol.messages import Hello, Interpreter
from bench.records.gate_report import GateReport, SeriesVerdict, SideRecord, write_report
from bench.records.verdicts import INVALID
from bench.runner.pairs import SECONDS_PER_COMPARISON, Pairs, ProcessPair
from bench.runner.pool import shareable

ENVIRONMENT = "steady"
"""Of both sides: what malloc gives back to the kernel differs from process to process."""
OMP = "OMP_NUM_THREADS"
ROOM = 1.1
"""A pair is begun only where the time left is so many times what the last ones took."""


@dataclass
class Gate:
    """Measures and judges; the report is on disk after every pair."""

    comparisons: Sequence[Comparison]
    sides: tuple[Made, Made]
    settings: Settings
    path: Path
    tell: Callable[[str], None] = lambda text: None
    seed: int = 0
    seconds: float = SECONDS_PER_COMPARISON
    named: bool = False
    """Whether the cases were asked for by name, so that one that cannot run is an error."""
    pairs_wanted: int | None = None
    """How many pairs to measure, whatever is settled before; None where the looks decide."""

    def run(self) -> GateReport:
        """The report, judged. Raises UsageError where there is nothing that can be judged.

        An interruption leaves what was measured in the report, as invalid.
        """
        started = time.monotonic()
        draw = random.Random(self.seed)
        self._pairs = Pairs(
            self.comparisons,
            (self.sides[0].side, self.sides[1].side),
            ENVIRONMENTS[ENVIRONMENT],
            seed=draw.randrange(2**32),
            seconds=self.seconds,
            tell=self.tell,
        )
        hellos = self._survey()
        self._report = report = GateReport(
            machine=fingerprint(),
            started_at=time.time(),
            sides=[
                SideRecord(
                    made.side.name,
                    made.what,
                    hello.subject_hash,
                    hello.python,
                    hello.facts.torch,
                    hello.threads,
                    {k: redacted(v) for k, v in made.side.environment.items()},
                    shareable(hello).interpreter,
                )
                for made, hello in zip(self.sides, hellos, strict=True)
            ],
            rules=self.settings.rules,
            budget_s=self.settings.budget_s,
            environment=ENVIRONMENT,
            seed=self.seed,
            comparisons=list(self.comparisons),
            series=[(c.id, s) for c in self._judged_comparisons for s in c.series],
            ended=self._ended(),
            recorded=self.pairs_wanted is not None,
        )
        write_report(self.path, report)
        deadline = started + self.settings.budget_s
        looked: list[int] = []
        try:
            for count, wanted in self._wanted(draw):
                complete = self._take(wanted, deadline)
                taken = self._taken(control=False)
                if taken >= FIRST_LOOKS[0] and taken > max(looked, default=0):
                    looked.append(taken)
                    report.verdicts = self._judged(looked)
                    self._tell_look(taken)
                if not complete or taken < count:
                    break
                if self.pairs_wanted is None and decided(report.verdicts, report.rules):
                    break
            report.verdicts = self._judged(looked)
            moved = None if report.recorded else control_moved(report.pairs)
            report.outcome, report.reason = outcome_of(report.verdicts, moved)
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

    def _survey(self) -> tuple[Hello, Hello]:
        try:
            hellos = self._pairs.survey()
        except MachineError as error:
            raise UsageError(f"this instrument cannot measure the {error}") from None
        for made, hello in zip(self.sides, hellos, strict=True):
            if made.subject_hash != hello.subject_hash:
                raise UsageError(
                    f"the {made.side.name}'s worker loaded another subject ({hello.subject_hash}) "
                    f"than it was given ({made.subject_hash})"
                )
            if made.interpreter not in (None, hello.interpreter):
                raise UsageError(
                    f"the {made.side.name}'s worker runs on {_words(hello.interpreter)}, and what "
                    f"was asked for is {_words(made.interpreter)}: see what its environment and "
                    "the files that Python runs at its start put on its import path"
                )
        self._interpreters = [hello.interpreter for hello in hellos]
        self._check_threads(hellos)
        ended = self._pairs.ended
        nowhere = {c: e.reason for c, e in ended.items() if e.side == "both"}
        if nowhere and (self.named or len(nowhere) == len(self.comparisons)):
            lines = [f"  {comparison}: {reason}" for comparison, reason in nowhere.items()]
            raise UsageError("\n".join(["cannot run here, on either side:", *lines]))
        # What neither side can do here is no difference between them: it is told, and not judged.
        self._judged_comparisons = [c for c in self.comparisons if c.id not in nowhere]
        return hellos

    def _check_threads(self, hellos: tuple[Hello, Hello]) -> None:
        """Raise UsageError where the only variable that differs makes no difference."""
        base, head = (made.side for made in self.sides)
        if set(base.environment) == {OMP} and not head.environment:
            same = self.sides[0].subject_hash == self.sides[1].subject_hash
            same &= base.python == head.python
            same &= all(
                comparison.base == comparison.head and comparison.base.threads == hellos[0].threads
                for comparison in self.comparisons
            )
            if same:
                raise UsageError(
                    f"{OMP}={base.environment[OMP]} changes nothing: all cases compute with "
                    f"{hellos[0].threads} threads anyway; name another number, or --threads"
                )

    def _wanted(self, draw: random.Random) -> Iterator[tuple[int, list[bool]]]:
        """For each look the pairs it wants, and those to take until then: true for a control."""
        if self.pairs_wanted is not None:
            yield self.pairs_wanted, [False] * self.pairs_wanted
            return
        for look, count in enumerate(looks()):
            wanted = slots(look, self._taken(control=False), self._taken(control=True))
            draw.shuffle(wanted)
            yield count, wanted

    def _take(self, wanted: Sequence[bool], deadline: float) -> bool:
        """Measure these pairs; whether there was time, and something open, for all of them."""
        for control in wanted:
            last = [pair.wall_s for pair in self._report.pairs[-3:]]
            if time.monotonic() + ROOM * max(last, default=0.0) > deadline:
                return False
            pair = self._pairs.measure(control=control)
            self._report.ended = self._ended()
            if pair is None:
                return False
            self._check_loaded(pair)
            self._report.pairs.append(
                reduce_pair(pair, self._report.series, self._report.started_at)
            )
            write_report(self.path, self._report)
            kind = "control pair" if control else "pair"
            self.tell(f"{kind} {self._taken(control=control)}: {pair.wall_s:.1f} s")
            self._check_budget()
        return True

    def _check_loaded(self, pair: ProcessPair) -> None:
        """Raise MachineError where a worker loaded something else than its side did before."""
        places = (0, 0) if pair.control else (0, 1)
        for place, hello in zip(places, pair.hellos, strict=True):
            made, found = self.sides[place], self._interpreters[place]
            if made.subject_hash != hello.subject_hash:
                raise MachineError(f"the {made.side.name}'s subject changed while it was measured")
            if hello.interpreter != found:
                raise MachineError(
                    f"the {made.side.name} changed while it was measured: its worker runs on "
                    f"{_words(hello.interpreter)}, and before on {_words(found)}"
                )

    def _check_budget(self) -> None:
        """Raise UsageError as soon as it is clear that time will be up before the first look.

        Not after one pair alone, which may compile what later ones find compiled.
        """
        taken = self._report.pairs
        if self.pairs_wanted is None and len(taken) == 2:
            wanted = (FIRST_LOOKS[0] + controls_by(0)) * min(pair.wall_s for pair in taken)
            if wanted > self.settings.budget_s:
                raise UsageError(
                    f"the fewest pairs that a verdict needs would take {wanted:.0f} s, more than "
                    f"the budget of {self.settings.budget_s:.0f} s: raise --budget, or name fewer "
                    "cases"
                )

    def _ended(self) -> dict[str, str]:
        return {
            comparison: f"{ended.status} on {ended.side}: {ended.reason}"
            for comparison, ended in self._pairs.ended.items()
        }

    def _taken(self, *, control: bool) -> int:
        return sum(pair.control == control for pair in self._report.pairs)

    def _judged(self, looked: Sequence[int]) -> list[SeriesVerdict]:
        report = self._report
        return judge(report.series, report.pairs, report.ended, report.rules, looked)

    def _tell_look(self, taken: int) -> None:
        words = [verdict.verdict for verdict in self._report.verdicts]
        counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        self.tell(f"look at {taken} pairs: {counts}")


def _words(found: Interpreter | None) -> str:
    if found is None:
        return "an unknown interpreter"
    text = f"{found.python} of {found.prefix} with torch {found.torch} in {found.torch_folder}"
    return redacted(text)
