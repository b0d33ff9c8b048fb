"""What profiles say, as tables: phases, and the operators that take most of them."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from bench.matrix.case import Case
from bench.matrix.plan import Plan
from bench.profiles.advice import profile_advice
from bench.protocol.profile import PhaseProfile, StepProfile
from bench.records.loading import load_runs
from bench.report.tables import Row, render
from bench.report.terminal import Worth
from bench.runner.coordinator import Coordinator
from bench.runner.events import CaseEnded, CasePrepared, CaseProfiled, Event
from bench.units import duration, memory, rate, share

OPERATORS = 5
"""Shown of each phase."""
ABOUT = (
    "Shares are of time under the profiler, which slows a step: they are no timings, and counts "
    "are exact. ops: operators called from Python that compute; nodes: autograd's; in operators: "
    "the rest is Python's and bookkeeping. FLOP of products and bytes of operands are counted in "
    "eager operators."
)

WORTH: Worth = (
    ("allocations", "allocated", "high water"),
    ("FLOP", "bytes"),
    ("launches", "kernels"),
    ("kernel time", "busy"),
    ("ops", "nodes"),
    ("in operators",),
)
OPERATORS_WORTH: Worth = (("calls",),)


def print_profiles(cases: Sequence[Case], traces: Path | None, width: int | None = None) -> int:
    """Profile the cases and print what each does; the exit status: 1 if one could not be.

    With `traces`, a folder, a Chrome trace and folded stacks of each are kept there. Raises
    UsageError where it cannot be made, or nothing can run.
    """
    if traces is not None:
        try:
            traces.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--traces: cannot make {traces}: {error.strerror}") from None
    step_ns: dict[str, int] = {}
    failed = False

    status = Console(stderr=True).status("profiling")

    def show(text: str) -> None:
        status.stop()  # while it runs, what is printed goes to stderr and is wrapped
        print(text, flush=True)
        status.start()

    def tell(event: Event) -> None:
        nonlocal failed
        match event:
            case CasePrepared(prepared=prepared):
                step_ns[prepared.case] = prepared.step_ns
            case CaseEnded(case, ended, reason):
                failed |= ended != "unsupported"
                show(f"{case}\n\n{ended}: {reason}\n")
            case CaseProfiled(case, None, reason):
                failed = True
                show(f"{case}\n\nnot profiled: {reason}\n")
            case CaseProfiled(case, StepProfile() as profile):
                show(f"{case}\n\n{profile_text(profile, step_ns[case], width)}\n")

    plan = Plan(list(cases), replicates=1, budget_s=0, profiled=True)
    with status:
        Coordinator(plan, tell, traces=traces).measure()
    print(ABOUT)
    if traces is not None:
        print(
            f"Traces: {traces}/*.trace.json for Perfetto or chrome://tracing, {traces}/*.folded "
            "for flame graphs."
        )
    return int(failed)


def print_stored_profiles(files: Sequence[Path], width: int | None = None) -> None:
    """Print the profiles in run files. Raises UsageError where none has any."""
    paths, _, runs = load_runs(files)
    found = [case for run in runs for case in run.cases if case.profile or case.profile_reason]
    if not found:
        names = ", ".join(map(str, paths))
        raise UsageError(f"no profiles in {names}: measure with `run --profile`")
    for case in found:
        if case.profile is None or case.prepared is None:
            print(f"{case.id}\n\nnot profiled: {case.profile_reason}\n")
        else:
            text = profile_text(case.profile, case.prepared.step_ns, width)
            print(f"{case.id}\n\n{text}\n")
    print(ABOUT)


def profile_text(profile: StepProfile, step_ns: float, width: int | None = None) -> str:
    """Both tables and what follows from them. `step_ns` is a step's time without the profiler."""
    phases = [_phase_row(name, phase, profile, step_ns) for name, phase in profile.phases.items()]
    operators: list[Row] = [
        {
            "phase": name,
            "operator": operator.name,
            "calls": operator.calls,
            "own share": share(operator.share),
        }
        for name, phase in profile.phases.items()
        for operator in phase.operators[:OPERATORS]
    ]
    parts = [render(phases, "github", WORTH, width)]
    if operators:
        parts.append(render(operators, "github", OPERATORS_WORTH, width))
    return "\n\n".join([*parts, "\n".join(profile_advice(profile))])


def _phase_row(name: str, phase: PhaseProfile, profile: StepProfile, step_ns: float) -> Row:
    work = profile.work[name]
    row: Row = {
        "phase": name,
        "share": share(phase.share),
        "in operators": share(phase.in_operators),
        "ops": phase.ops,
        "nodes": phase.nodes,
    }
    if phase.kernels_ns is not None:
        row |= {
            "launches": phase.launches,
            "kernels": phase.kernels,
            "kernel time": duration(phase.kernels_ns),
            "busy": share((phase.busy_ns or 0) / step_ns),
        }
    if phase.allocations is not None:
        row |= {
            "allocations": phase.allocations,
            "allocated": memory(phase.allocated_bytes or 0),
            "high water": memory(phase.peak_bytes or 0),
        }
    return row | {"FLOP": rate(work.flops), "bytes": memory(work.bytes)}
