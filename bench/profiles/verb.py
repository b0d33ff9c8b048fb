"""The verb `profile`: what a step of each case does, profiled now or stored in run files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UsageError
from ..matrix.case import Case
from ..matrix.default_step import Catalogue
from ..matrix.plan import Plan
from ..protocol.profile import StepProfile
from ..records.loading import load_runs
from ..report.view import Table, View
from ..runner.coordinator import Coordinator
from ..runner.discovery import side_of
from ..runner.events import CaseEnded, CasePrepared, CaseProfiled, Event
from .views import ABOUT, profile_tables


def profile(
    cases: Sequence[Case],
    catalogue: Catalogue,
    traces: Path | None,
    show: Callable[[View], None],
) -> int:
    """Profile the cases and show the View of each as it comes; the exit status: 1 if one failed.

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

    def on_event(event: Event) -> None:
        nonlocal failed
        match event:
            case CasePrepared(prepared=prepared):
                step_ns[prepared.case] = prepared.step_ns
            case CaseEnded(case, status, reason):
                failed |= status != "unsupported"
                show(View([], [f"{case}: {status}: {reason}."]))
            case CaseProfiled(case, None, reason):
                failed = True
                show(View([], [f"{case}: not profiled: {reason}."]))
            case CaseProfiled(case, StepProfile() as seen):
                show(View(profile_tables(case, seen, step_ns[case])))

    plan = Plan(list(cases), 1, 0, steps=catalogue.file, profiled=True)
    Coordinator(plan, on_event, side=side_of(catalogue), traces=traces).measure()
    kept = (
        f"Traces: {traces}/*.trace.json for Perfetto or chrome://tracing, {traces}/*.folded for "
        "flame graphs."
    )
    show(View([], [ABOUT] if traces is None else [ABOUT, kept]))
    return int(failed)


def stored(files: Sequence[Path]) -> View:
    """The profiles in run files. Raises UsageError where none has any."""
    paths, _, runs = load_runs(files)
    found = [case for run in runs for case in run.cases if case.profile or case.profile_reason]
    if not found:
        names = ", ".join(map(str, paths))
        raise UsageError(f"no profiles in {names}: measure with `run --profile`")
    tables: list[Table] = []
    missing: list[str] = []
    for case in found:
        if case.profile is None or case.prepared is None:
            missing.append(f"{case.id}: not profiled: {case.profile_reason}.")
        else:
            tables += profile_tables(case.id, case.profile, case.prepared.step_ns)
    return View(tables, [*missing, ABOUT])
