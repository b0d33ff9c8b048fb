"""How pytest and pytest-benchmark drive a campaign: options, replayed rounds, the run file."""

import shlex
import sys
from collections.abc import Generator, Sequence
from typing import Any

import msgspec
import pytest
import pytest_benchmark.plugin
from rich.console import Console

from bench.compare.views import Request, comparison_text
from bench.errors import BenchError, MachineError, UnexpectedError, UsageError
from bench.machine.fingerprint import fingerprint
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling, ceilings_under
from bench.matrix.plan import Plan
from bench.records.run_file import CaseRecord, CeilingRecord, RunRecord
from bench.report.tables import machine_notes
from bench.report.terminal import table_width
from bench.roofline.ceilings_view import ceilings_text
from bench.suite.campaign import Campaign, resumable
from bench.suite.options import (
    DEFAULT_RESULTS,
    add_options,
    ceilings_from,
    check_grouping,
    plan_from,
    refuse_beside_resume,
    refuse_interfering,
    refuse_meaningless,
)

CAMPAIGN: pytest.StashKey[Campaign] = pytest.StashKey()
BENCHMARKS: pytest.StashKey[list[Any]] = pytest.StashKey()
ERROR: pytest.StashKey[BenchError] = pytest.StashKey()
"""What ended the session early."""

PYTEST_STATUS = {
    UsageError.exit_status: pytest.ExitCode.USAGE_ERROR,
    MachineError.exit_status: pytest.ExitCode.INTERNAL_ERROR,
}
"""Our exit status in pytest's own words, whose 4 is our 2."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    if not pluginmanager.is_registered(pytest_benchmark.plugin):
        raise pytest.UsageError(
            "this suite needs pytest-benchmark, and pytest has not loaded it: "
            "add -p pytest_benchmark.plugin, or drop -p no:benchmark"
        )
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    try:
        refuse_meaningless(config)
        check_grouping(config)
        refuse_interfering(config)
        resume = config.getoption("resume")
        if resume is not None:
            refuse_beside_resume(config)
        plan = plan_from(config) if resume is None else resumable(resume)[0].plan
    except BenchError as error:
        raise pytest.UsageError(str(error)) from None
    brief = config.getoption("benchmark_disable") and not config.getoption("benchmark_enable")
    if brief:
        plan = msgspec.structs.replace(
            plan,
            replicates=1,
            budget_s=0,
            compile_timed=[],
            profiled=False,
            energy=False,
            ceilings=[],
        )
    config.stash[BENCHMARKS] = []
    config.stash[CAMPAIGN] = Campaign(
        plan,
        (config.getoption("results") or DEFAULT_RESULTS)
        if resume is None
        else resume.parent.parent,
        resume=resume,
        brief=brief,
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "ceiling" in metafunc.fixturenames:
        campaign = metafunc.config.stash[CAMPAIGN]
        found = campaign.plan.ceilings if campaign.resuming else ceilings_from(metafunc.config)
        metafunc.parametrize("ceiling", found, ids=[above.id for above in found])
    if "case" not in metafunc.fixturenames:
        return
    cases = metafunc.config.stash[CAMPAIGN].plan.cases
    if "phase" in metafunc.fixturenames:
        pairs = [(case, series) for case in cases for series in case.series]
        ids = [f"{case.id}-{series}" for case, series in pairs]
        metafunc.parametrize(("case", "phase"), pairs, ids=ids)
    else:
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A journal that another verb began would have nothing to finish here."""
    campaign = config.stash[CAMPAIGN]
    wanted = _fixtures(items)
    for fixture, found, what, verb in (
        ("record", campaign.plan.cases, "cases", "ceilings"),
        ("ceiling_record", campaign.plan.ceilings, "ceilings", "run"),
    ):
        if campaign.resuming and fixture in wanted and not found:
            raise pytest.UsageError(f"the journal has no {what}: finish it with `{verb} --resume`")


@pytest.fixture
def record(case: Case, request: pytest.FixtureRequest) -> CaseRecord:
    """What the campaign saw of the case; the first to ask has all that is selected measured."""
    return next(record for record in _measured(request).cases if record.id == case.id)


@pytest.fixture
def ceiling_record(ceiling: Ceiling, request: pytest.FixtureRequest) -> CeilingRecord:
    """What the campaign saw of the ceiling, likewise."""
    return next(record for record in _measured(request).ceilings if record.id == ceiling.id)


def _measured(request: pytest.FixtureRequest) -> RunRecord:
    """The campaign's run, measured where it was not yet."""
    config = request.config
    campaign = config.stash[CAMPAIGN]
    if campaign.run is None and not campaign.resuming:
        campaign.plan = _selected(campaign.plan, request.session.items)
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            return campaign.measured(Console(stderr=True))
        except KeyboardInterrupt:
            request.session.shouldstop = "interrupted"  # which --pdb would go on after
            raise
        except BaseException as error:  # a plugin's time limit is no Exception
            _keep(config, error)
            pytest.exit("the measurement failed")


def _keep(config: pytest.Config, error: BaseException) -> None:
    """Keep what ends the session for the summary."""
    config.stash[ERROR] = error if isinstance(error, BenchError) else UnexpectedError(error)


def _fixtures(items: Sequence[pytest.Item]) -> set[str]:
    """The fixtures that any of the tests uses."""
    return {name for i in items if isinstance(i, pytest.Function) for name in i.fixturenames}


def _selected(plan: Plan, items: list[pytest.Item]) -> Plan:
    """The plan, of what pytest has selected."""

    def values(fixture: str, parameter: str) -> list[Any]:
        found = [
            item.callspec.params[parameter]
            for item in items
            if isinstance(item, pytest.Function) and fixture in item.fixturenames
        ]
        return list(dict.fromkeys(found))

    cases: list[Case] = values("record", "case")
    ids = {case.id for case in cases}
    return msgspec.structs.replace(
        plan,
        cases=cases,
        compile_timed=[case for case in plan.compile_timed if case in ids],
        ceilings=values("ceiling_record", "ceiling")
        or (ceilings_under(cases) if plan.ceilings else []),
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """What ends the session early is printed in the summary, not as an interruption.

    And a session that should have measured and did not is not a success.
    """
    config = session.config
    try:
        result = yield
    except pytest.exit.Exception:
        if ERROR not in config.stash:
            raise
        return True
    wanted = {"record", "ceiling_record"} & _fixtures(session.items)
    if (
        wanted
        and config.stash[CAMPAIGN].run is None
        and not (config.option.collectonly or config.option.setupplan)
    ):
        config.stash[ERROR] = UsageError(
            "nothing was measured: every test was skipped, or failed, before it could begin; "
            "drop the option, plugin or conftest.py that does that"
        )
    return result


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """The fingerprint in pytest-benchmark's words; `node` is the hardware's name."""
    machine = fingerprint()
    return {
        "node": machine.name,
        "cpu": {"brand_raw": machine.cpu, "count": machine.cores},
        "system": machine.os,
        "python_version": machine.python,
        "torch_version": machine.torch,
    }


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """This code's commit, not the current folder's, and no folder's or branch's name."""
    machine = fingerprint()
    commit_info.clear()
    commit_info |= {"id": machine.commit, "dirty": machine.dirty, "project": "sumnet-bench"}


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """What --benchmark-json and --benchmark-save write holds the whole run too."""
    run = config.stash[CAMPAIGN].run
    if run is not None:
        output_json["sumnet"] = msgspec.to_builtins(run)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Write the run file, before what pytest-benchmark writes can go wrong."""
    config = session.config
    campaign = config.stash.get(CAMPAIGN, None)
    if campaign is not None and campaign.run is not None and campaign.journal is not None:
        try:
            campaign.write(_document(config))
        except Exception as error:
            _keep(config, error)
    try:
        return (yield)
    except OSError as error:  # --benchmark-json, --benchmark-save
        config.stash[ERROR] = MachineError(f"cannot write {error.filename}: {error.strerror}")
        return None
    finally:
        if (told := config.stash.get(ERROR, None)) is not None:
            session.exitstatus = PYTEST_STATUS[told.exit_status]


def _document(config: pytest.Config) -> dict[str, Any]:
    """What pytest-benchmark would write."""
    hook = config.hook
    commit_info = hook.pytest_benchmark_generate_commit_info(config=config)
    hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit_info)
    document: dict[str, Any] = hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=config.stash[BENCHMARKS],
        include_data=True,
        machine_info=hook.pytest_benchmark_generate_machine_info(config=config),
        commit_info=commit_info,
    )
    return document


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and CAMPAIGN in config.stash:
        given = [("-k", config.getoption("keyword")), ("-m", config.getoption("markexpr"))]
        asked = " ".join(f"{flag} {text!r}" for flag, text in given if text) or "the selection"
        if any("test_ceilings" in str(path) for path in config.args):
            _tell_error(f"{asked} selects no ceiling; without it all are measured")
        else:
            _tell_error(f"{asked} selects no case; `python -m bench list` prints the ids there are")
    if (error := config.stash.get(ERROR, None)) is not None:
        _tell_error(str(error))
    campaign = config.stash.get(CAMPAIGN, None)
    if campaign is None:
        return
    if campaign.journal is not None:
        journal = campaign.journal.path
        terminalreporter.write_line(
            f"Unfinished. What was measured is kept in {journal}; finish it with\n"
            f"  python -m bench {'run' if campaign.plan.cases else 'ceilings'} --resume "
            f"{shlex.quote(str(journal))}"
        )
    elif campaign.run is not None and campaign.run_path is not None:
        run, labels = campaign.run, [campaign.run.machine.name]
        width = table_width(config.getoption("wide"))
        if run.cases:
            terminalreporter.section("training steps")
            terminalreporter.write_line(comparison_text([run], labels, Request(width=width)))
        if run.ceilings:
            terminalreporter.section("ceilings")
            terminalreporter.write_line(ceilings_text([run], labels, width=width))
            if not run.cases:
                terminalreporter.write_line("\n".join(machine_notes([run], labels)))
        if campaign.trouble:
            terminalreporter.write_line(f"Warning: {campaign.trouble}.")
        terminalreporter.write_line(f"Run file: {campaign.run_path}")


def _tell_error(text: str) -> None:
    """As pytest tells of wrong usage."""
    sys.stdout.flush()
    print(f"ERROR: {text}\n", file=sys.stderr)
