"""What each verb does: the values of its options go to its feature, and its view is printed."""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..matrix.case import WHOLE
from ..matrix.presets import select
from ..options import selected
from .steps import RUN_SUFFIXES, steps_file, with_steps

if TYPE_CHECKING:
    from ..matrix.case import Case
    from ..matrix.plan import Plan
    from ..matrix.step import StepDescription
    from ..report.view import View


def _show(view: "View", asked: Namespace, status: int = 0) -> int:
    """Print a view; the exit status."""
    from ..report.render import render
    from ..report.terminal import table_width

    style = asked.format if "format" in asked else "github"
    print(render(view, style, table_width(asked.wide)), flush=True)
    return status


def list_cases(asked: Namespace) -> int:
    with_steps(asked)
    cases = selected(asked)
    if asked.verify:
        from ..verification.verb import verify

        return verify(cases, asked.catalogue, lambda line: print(line, flush=True))
    from ..devices import probe
    from ..matrix.support import unsupported_reason
    from ..records.store import how_to_finish, unfinished_runs

    facts = probe()
    broken = {step.name: step.error for step in asked.catalogue.steps if step.error is not None}
    for case in cases:
        words = case.id
        if case.workload in broken:
            words += f"  failed: {broken[case.workload]}"
        elif (reason := unsupported_reason(case, facts)) is not None:
            words += f"  unsupported: {reason}"
        print(words)
    for journal in unfinished_runs(asked.results):
        print(f"an unfinished run is kept in {how_to_finish(journal)}", file=sys.stderr)
    return 0


def run(asked: Namespace) -> int:
    if blocked := [name for name in asked.plugins if name.startswith("no:")]:
        raise UsageError(
            f"-p {blocked[0]}: only what -p names is loaded, so there is nothing to block"
        )
    from ..suite.plan import plan_from

    if asked.resume is None:
        with_steps(asked)
    words = [*asked.passed_on, *(["--collect-only"] if asked.collect_only else [])]
    words += ["-m", asked.marker] if asked.marker is not None else []
    return _measure("test_phases", asked, plan_from, words, asked.plugins)


def _measure(
    tests: str,
    asked: Namespace,
    plan: Callable[[Namespace], "Plan"],
    words: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> int:
    from ..suite.measurement import measurement_of
    from ..suite.plugin import Suite
    from ..suite.session import run_suite

    suite = Suite(measurement_of(asked, plan), wide=asked.wide)
    chosen = ["-k", asked.keyword] if asked.keyword is not None else []
    return run_suite(tests, suite, [*words, *chosen], plugins)


def profile(asked: Namespace) -> int:
    files = [Path(word) for word in asked.cases if word.endswith(RUN_SUFFIXES)]
    if files:
        if len(files) < len(asked.cases) or set(asked.given) - {"CASE|STEPS|RUN", "--wide"}:
            raise UsageError("run files are printed and nothing is profiled: name files alone")
        from ..profiles.verb import stored

        return _show(stored(files), asked)
    with_steps(asked)
    cases = selected(asked)
    from rich.console import Console

    from ..profiles.verb import profile

    def show(view: "View") -> None:
        status.stop()  # while it runs, what is printed goes to stderr and is wrapped
        _show(view, asked)
        print(flush=True)
        status.start()

    with Console(stderr=True).status("profiling") as status:
        return profile(cases, asked.catalogue, asked.traces, show)


def ceilings(asked: Namespace) -> int:
    if not asked.files:
        if "--format" in asked.given:
            raise UsageError("--format is for printing run files: name some")
        from ..suite.plan import ceilings_plan

        return _measure("test_ceilings", asked, ceilings_plan)
    if others := [flag for flag in asked.given if flag not in ("RUN", "--format", "--wide")]:
        raise UsageError(f"files are printed and nothing is measured: drop {', '.join(others)}")
    from ..roofline.verb import ceilings

    return _show(ceilings(asked.files), asked)


def _readable(files: list[Path], skip: bool) -> list[Path]:
    """The run files that are named; to `skip` leaves out those that cannot be read."""
    from ..records.loading import readable

    return readable(files) if skip else files


def compare(asked: Namespace) -> int:
    if asked.roofline and not asked.limits:
        raise UsageError("--roofline is a chart of limits: add --limits")
    if not asked.verdicts and (asked.margin is not None or asked.threshold is not None):
        raise UsageError("--margin and --threshold are of verdicts: add --verdicts")
    layout = ["--by", "--reference", "--rows", "--columns", "--statistic"]
    status = 0
    if asked.verdicts:
        _refuse_layout("--verdicts", asked, [*layout, "--phase", "--limits"])
        from ..compare.verb import verdicts

        view, status = verdicts(
            _readable(asked.files, asked.skip_unreadable),
            asked.results,
            margin=asked.margin,
            threshold=asked.threshold,
        )
    elif asked.limits:
        _refuse_layout("--limits", asked, layout)
        from ..roofline.verb import limits

        view = limits(
            _readable(asked.files, asked.skip_unreadable),
            asked.results,
            phase=asked.phase,
            charts=asked.roofline,
        )
    else:
        from ..compare.verb import compare

        view = compare(
            _readable(asked.files, asked.skip_unreadable),
            asked.results,
            by=asked.by,
            reference=asked.reference,
            rows=asked.rows,
            columns=asked.columns,
            phase=asked.phase,
            statistic=asked.statistic,
        )
    return _show(view, asked, status)


def _refuse_layout(table: str, asked: Namespace, layout: list[str]) -> None:
    """Raise UsageError where something was asked for that a table of its own does not have."""
    usual = {"--statistic": "quiet", "--phase": WHOLE}
    if given := [f for f in layout if f in asked.given and getattr(asked, f[2:]) != usual.get(f)]:
        raise UsageError(f"{table} is a table of its own, of quiet times: drop {', '.join(given)}")


def rank(asked: Namespace) -> int:
    from ..rank.verb import rank

    return _show(
        rank(
            _readable(asked.files, asked.skip_unreadable),
            asked.results,
            by=asked.by,
            statistic=asked.statistic,
        ),
        asked,
    )


def trend(asked: Namespace) -> int:
    from ..trend.verb import trend

    how = {"phase": asked.phase, "statistic": asked.statistic, "charts": asked.chart}
    return _show(trend(_readable(asked.files, asked.skip_unreadable), asked.results, **how), asked)


def repeatability(asked: Namespace) -> int:
    from ..repeatability.verb import repeatability

    return _show(repeatability(asked.files), asked)


def regress(asked: Namespace) -> int:
    if [word for word in asked.cases if word.endswith(RUN_SUFFIXES)]:
        return _stored_verdict(asked)
    from rich.console import Console

    from ..gate.badge import write_badge
    from ..gate.github import report_to_github
    from ..gate.settings import overridden, read_settings
    from ..gate.side_spec import parse_side
    from ..gate.sides import OwnSteps
    from ..gate.verb import regress
    from ..gate.views import headline, report_view
    from ..records.store import check_target
    from ..records.verdicts import EXIT_STATUS

    console = Console(stderr=True, highlight=False)
    badge = check_target(asked.badge, "--badge") if asked.badge is not None else None
    file = steps_file(asked)
    if file is None and (given := [f for f in ("--build", "--steps-from") if f in asked.given]):
        raise UsageError(f"{given[0]} is for steps of your own: name the file that declares them")

    def cases(steps: "Sequence[StepDescription]") -> "list[Case]":
        asked.catalogue = asked.catalogue._replace(steps=tuple(steps))
        return selected(asked)

    report, path = regress(
        cases,
        own=None if file is None else OwnSteps(file, asked.build, asked.steps_from or "head"),
        device=str((asked.device or ["cpu"])[0]),
        named=bool(asked.cases),
        base=parse_side("base", asked.base, asked.base_torch, asked.base_python, asked.base_env),
        head=parse_side("head", asked.head),
        same=asked.same,
        settings=overridden(read_settings(Path()), vars(asked)),
        report=asked.report,
        results=asked.results,
        if_busy=asked.if_busy,
        console=console,
    )
    view = report_view(report, path)
    _show(view, asked)
    if asked.format in ("csv", "tsv"):  # which hold no notes
        console.out(f"{headline(report)} Report: {path}")
    report_to_github(report, view)
    if badge is not None:
        write_badge(badge, report)
    return EXIT_STATUS[report.outcome]


def _stored_verdict(asked: Namespace) -> int:
    """Print the report that is named; its exit status."""
    if len(asked.cases) > 1 or set(asked.given) - {"CASE|STEPS|REPORT", "--format", "--wide"}:
        raise UsageError("a report is printed and nothing is measured: name one file alone")
    from ..gate.views import report_view
    from ..records.gate_report import load_report
    from ..records.verdicts import EXIT_STATUS

    path = Path(asked.cases[0])
    report = load_report(path)
    return _show(report_view(report, path), asked, EXIT_STATUS[report.outcome])


def calibrate(asked: Namespace) -> int:
    from ..gate.calibrate import calibrate
    from ..gate.settings import read_settings

    view = calibrate(
        asked.reports,
        pairs=asked.pairs,
        replays=asked.replays,
        cases=select(asked.preset, {}),
        settings=read_settings(Path()),
        results=asked.results,
        if_busy=asked.if_busy,
    )
    return _show(view, asked)


_VERBS = (run, profile, ceilings, compare, rank, trend, repeatability, regress, calibrate)
BODIES: dict[str, Callable[[Namespace], int]] = {
    "list": list_cases,
    **{body.__name__: body for body in _VERBS},
}
