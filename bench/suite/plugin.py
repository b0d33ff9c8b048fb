"""Our part of a pytest session: cases as parametrised tests, replayed rounds, the run file."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from rich.console import Console

from ..compare.views import comparison_view
from ..errors import BenchError, MachineError, UnexpectedError, UsageError, for_terminal
from ..matrix.case import Case
from ..matrix.ceiling import Ceiling, ceilings_under
from ..matrix.plan import Plan
from ..options import COMMAND
from ..records.run_file import CaseRecord, CeilingRecord, RunRecord, encode
from ..records.store import how_to_finish
from ..report import notes
from ..report.render import render
from ..report.terminal import table_width
from ..roofline.views import ceilings_view
from ..signals import interruption_behind
from ..units import one_of
from .clock import replay_block
from .measurement import Measurement, refuse_plan

MEANINGLESS = {
    "timer": "durations come from the device's own clock",
    "max-time": "all cases share the time: use --budget SECONDS",
    "min-rounds": "a round is a block, and replicates count: use --replicates N",
    "precision": "intervals come from replicates: use --replicates N",
    "confidence": "intervals are 95% prediction intervals",
    **dict.fromkeys(("min-time", "calibration-precision"), "a block is a fixed number of samples"),
    **dict.fromkeys(("warmup", "warmup-iterations"), "every case is warmed up until it is steady"),
    **dict.fromkeys(
        ("cprofile", "cprofile-loops", "cprofile-top", "cprofile-dump"),
        "a timing taken under a profiler is not a timing",
    ),
}
"""pytest-benchmark's options, after `--benchmark-`, that a replayed clock cannot honour, and why.
--benchmark-disable-gc is what happens anyway: the collector never runs inside a block."""
GROUPING = one_of(
    *("group", "name", "func", "fullname", "fullfunc", "param", "param:case", "param:phase")
)
"""What its tables may be grouped by. It refuses others only after measuring."""

IN_PARALLEL = "tests in parallel would disturb each other's timings"
AT_ONCE = "the first test takes as long as all there is to measure"
INTERFERING = {
    "numprocesses": ("-n", IN_PARALLEL),
    "dist": ("--dist", IN_PARALLEL),
    "forked": ("--forked", "every test in a process of its own would measure everything again"),
    "timeout": ("--timeout", AT_ONCE),
    "session_timeout": ("--session-timeout", AT_ONCE),
    "reruns": ("--reruns", "a rerun would repeat the report, not the measurement"),
}
"""Settings of other plugins that spoil a measurement or end it early: by their name, the option
that sets them and what is wrong with it."""
OFF = ("0", "0.0", "no")

KEPT = ("group", "name", "fullname", "params", "param")
"""What the run file has of a benchmark beside its statistics: pytest-benchmark's `compare` reads
all of it, github-action-benchmark and Bencher the full name."""
STATISTICS = (
    *("min", "max", "mean", "stddev", "median", "iqr", "outliers", "ops", "rounds", "iterations"),
    *("q1", "q3", "ld15iqr", "hd15iqr"),
)
"""The columns of `pytest-benchmark compare`, and what else its histogram is drawn from.
github-action-benchmark reads ops, stddev, mean and rounds of these, Bencher median and iqr."""

PYTEST_STATUS = {
    UsageError.exit_status: pytest.ExitCode.USAGE_ERROR,
    MachineError.exit_status: pytest.ExitCode.INTERNAL_ERROR,
    UnexpectedError.exit_status: pytest.ExitCode.INTERNAL_ERROR,
}
"""Our exit status in pytest's own words, whose 4 is our 2."""


class Suite:
    """The plugin: it measures all that is selected when the first test asks for its record."""

    def __init__(
        self,
        measurement: Measurement,
        ceilings: Sequence[Ceiling] | None = None,
        *,
        wide: bool = False,
    ) -> None:
        """`ceilings` have tests, where not all planned ones do; `wide` is of the tables printed."""
        self.measurement = measurement
        self.error: BenchError | None = None
        """What ended the session early."""
        self.interruption: KeyboardInterrupt | None = None
        """Likewise, by a person or a signal."""
        self._ceilings = measurement.plan.ceilings if ceilings is None else ceilings
        self._wide = wide
        self._benchmarks: list[Any] = []

    # Before measuring

    def pytest_configure(self, config: pytest.Config) -> None:
        brief = config.getoption("benchmark_disable") and not config.getoption("benchmark_enable")
        try:
            refuse_meaningless(config)
            refuse_interfering(config)
            if self.measurement.resume is not None:
                refuse_plan([*_expressions(config), *(["--benchmark-disable"] if brief else [])])
            elif brief:
                self.measurement.shorten()
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "ceiling" in metafunc.fixturenames:
            metafunc.parametrize("ceiling", self._ceilings, ids=_id)
        if "phase" in metafunc.fixturenames:
            cases = self.measurement.plan.cases
            pairs = [(case, series) for case in cases for series in case.series]
            metafunc.parametrize(("case", "phase"), pairs, ids=_id)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A journal that another verb began would have nothing to finish here."""
        wanted, plan = _fixtures(items), self.measurement.plan
        if self.measurement.resume is None:
            return
        if "record" in wanted and not plan.cases:
            raise pytest.UsageError("the journal has no cases: finish it with `ceilings --resume`")
        if "ceiling_record" in wanted and not plan.ceilings:
            raise pytest.UsageError("the journal has no ceilings: finish it with `run --resume`")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.error = MachineError(f"the suite's own tests do not load:\n{report.longreprtext}")

    # Measuring

    @pytest.fixture
    def record(self, case: Case, request: pytest.FixtureRequest) -> CaseRecord:
        """What was measured of the case."""
        return next(record for record in self._run(request).cases if record.id == case.id)

    @pytest.fixture
    def ceiling_record(self, ceiling: Ceiling, request: pytest.FixtureRequest) -> CeilingRecord:
        """What was measured of the ceiling."""
        return next(record for record in self._run(request).ceilings if record.id == ceiling.id)

    @pytest.fixture
    def replay(self, benchmark: Any) -> Callable[..., None]:
        """Replays the blocks of a series as rounds of a benchmark; the rest is its extra info."""

        def replay(
            record: CaseRecord | CeilingRecord,
            series: str,
            group: str,
            calls: int = 1,
            **extra_info: object,
        ) -> None:
            if record.status == "unsupported":
                pytest.skip(f"{record.reason}")
            if record.status != "ok":
                pytest.fail(f"{record.status}: {record.reason}", pytrace=False)
            medians_ns = self.measurement.medians_ns[record.id, series]
            blocks = iter([(ns / calls,) for ns in medians_ns])
            benchmark.group = group
            benchmark.extra_info.update(extra_info)
            benchmark.pedantic(
                replay_block, setup=lambda: (next(blocks), {}), rounds=len(medians_ns)
            )
            if benchmark.stats is not None:
                self._benchmarks.append(benchmark.stats)

        return replay

    def _run(self, request: pytest.FixtureRequest) -> RunRecord:
        """The run, measured where it was not yet."""
        measurement = self.measurement
        if measurement.run is None and measurement.resume is None:
            measurement.plan = _selected(measurement.plan, request.session.items)
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            try:
                return measurement.measured(Console(stderr=True, highlight=False))
            except BaseException as error:  # a plugin's time limit is no Exception
                self._keep(error)
        pytest.exit("the measurement ended early")

    def _keep(self, error: BaseException) -> None:
        """Keep what ends the session for the summary."""
        self.interruption = interruption_behind(error)
        if self.interruption is None:
            self.error = error if isinstance(error, BenchError) else UnexpectedError(error)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            result = yield
        except pytest.exit.Exception:
            if self.error is None and self.interruption is None:
                raise
            return True
        option = session.config.option
        wanted = {"record", "ceiling_record"} & _fixtures(session.items)
        if wanted and self.measurement.run is None and not (option.collectonly or option.setupplan):
            self.error = UsageError(
                "nothing was measured: every test was skipped, or failed, before it could begin; "
                "drop the option, plugin or conftest.py that does that"
            )
        return result

    # pytest-benchmark's document

    def pytest_benchmark_generate_machine_info(self) -> dict[str, Any]:
        """The fingerprint in pytest-benchmark's words; `node` is the hardware's name."""
        machine = self.measurement.machine
        return {
            "node": machine.name,
            "cpu": {"brand_raw": machine.cpu, "count": machine.cores},
            "system": machine.os,
            "python_version": machine.python,
            "torch_version": machine.torch,
        }

    def pytest_benchmark_update_commit_info(self, commit_info: dict[str, Any]) -> None:
        """This code's commit, not the current folder's, and no folder's or branch's name."""
        machine = self.measurement.machine
        commit_info.clear()
        commit_info |= {"id": machine.commit, "dirty": machine.dirty, "project": "sumnet-bench"}

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """What --benchmark-json and --benchmark-save write holds the whole run too."""
        if self.measurement.run is not None:
            output_json["sumnet"] = encode(self.measurement.run)

    def _summaries(self, config: pytest.Config) -> dict[str, Any]:
        """What pytest-benchmark would write, less what no reader of it takes from a file.

        Numbers keep eight digits: tables print no more.
        """
        hook = config.hook
        commit_info = hook.pytest_benchmark_generate_commit_info(config=config)
        hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit_info)
        document: dict[str, Any] = hook.pytest_benchmark_generate_json(
            config=config,
            benchmarks=self._benchmarks,
            include_data=False,
            machine_info=hook.pytest_benchmark_generate_machine_info(config=config),
            commit_info=commit_info,
        )
        document["benchmarks"] = [_summary(benchmark) for benchmark in document["benchmarks"]]
        return document

    # The end

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the run file, before what pytest-benchmark writes can go wrong."""
        if self.measurement.run is not None and self.measurement.journal is not None:
            try:
                self.measurement.write(self._summaries(session.config))
            except Exception as error:
                self._keep(error)
        try:
            return (yield)
        except OSError as error:  # --benchmark-json, --benchmark-save
            self.error = MachineError(f"cannot write {error.filename}: {error.strerror}")
            return None
        finally:
            if self.error is not None:
                session.exitstatus = PYTEST_STATUS[self.error.exit_status]
            elif self.interruption is not None:
                session.exitstatus = pytest.ExitCode.INTERRUPTED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
    ) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            given = " ".join(f"{flag} {text!r}" for flag, text in _expressions(config).items())
            if any("test_ceilings" in str(path) for path in config.args):
                what = "ceiling; without it all are measured"
            else:
                what = f"case; `{COMMAND} list` prints the ids"
            _print_error(f"{given or 'the selection'} selects no {what}")
        if self.error is not None:
            _print_error(str(self.error))
        measurement = self.measurement
        if measurement.journal is not None:
            terminalreporter.write_line(unfinished(measurement))
        elif (run := measurement.run) is not None and measurement.run_path is not None:
            labels, width = [run.machine.name], table_width(self._wide)
            for title, records, view in (
                ("training steps", run.cases, comparison_view),
                ("ceilings", run.ceilings, ceilings_view),
            ):
                if records:
                    terminalreporter.section(title)
                    terminalreporter.write_line(render(view([run], labels), "github", width))
            if not run.cases:
                terminalreporter.write_line("\n".join(notes.machines([run], labels)))
            if measurement.warning:
                terminalreporter.write_line(f"Warning: {measurement.warning}.")
            terminalreporter.write_line(f"Run file: {measurement.run_path}")


def unfinished(measurement: Measurement) -> str:
    """Where the journal of an unfinished run is, and how to finish it."""
    assert measurement.journal is not None
    return f"Unfinished. What was measured is kept in {how_to_finish(measurement.journal.path)}"


def _summary(benchmark: dict[str, Any]) -> dict[str, Any]:
    statistics = {name: benchmark["stats"][name] for name in STATISTICS}
    rounded = {n: float(f"{v:.8g}") if isinstance(v, float) else v for n, v in statistics.items()}
    ids = {name: _id(value) for name, value in benchmark["params"].items()}
    return {**{name: benchmark[name] for name in KEPT}, "params": ids, "stats": rounded}


def _id(value: Any) -> Any:
    """What a case or a ceiling is called; a series is its name."""
    return getattr(value, "id", value)


def _print_error(text: str) -> None:
    """As pytest prints wrong usage."""
    sys.stdout.flush()
    print(f"ERROR: {for_terminal(text)}\n", file=sys.stderr)


def _expressions(config: pytest.Config) -> dict[str, str]:
    """pytest's options that select among the tests, where they are given."""
    found = {"-k": config.getoption("keyword"), "-m": config.getoption("markexpr")}
    return {flag: text for flag, text in found.items() if text}


def _fixtures(items: Sequence[pytest.Item]) -> set[str]:
    """The fixtures that any of the tests uses."""
    return {name for i in items if isinstance(i, pytest.Function) for name in i.fixturenames}


def _selected(plan: Plan, items: list[pytest.Item]) -> Plan:
    """The plan, of what pytest has selected."""

    def values(fixture: str, parameter: str) -> list[Any]:
        tests = [item for item in items if fixture in _fixtures([item])]
        return list(dict.fromkeys(test.callspec.params[parameter] for test in tests))  # type: ignore[attr-defined]

    cases: list[Case] = values("record", "case")
    ids = {case.id for case in cases}
    return msgspec.structs.replace(
        plan,
        cases=cases,
        compile_timed=[case for case in plan.compile_timed if case in ids],
        ceilings=values("ceiling_record", "ceiling")
        or (ceilings_under(cases) if plan.ceilings else []),
    )


def refuse_meaningless(config: pytest.Config) -> None:
    """Raise UsageError for an option of pytest-benchmark that could only be ignored, or groups its
    tables in a way that it does not know."""
    given = [
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
        *config.getini("addopts"),
        *config.invocation_params.args,
    ]
    for word in given:
        name = str(word).partition("=")[0]
        _, prefix, rest = name.partition("--benchmark-")
        if prefix and (reason := MEANINGLESS.get(rest)):
            raise UsageError(f"{name} has no meaning here: {reason}")
    for word in config.getoption("benchmark_group_by", "group").split(","):
        GROUPING("--benchmark-group-by", word)


def refuse_interfering(config: pytest.Config) -> None:
    """Raise UsageError where another plugin would spoil the measurement or end it early."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        raise UsageError(f"{IN_PARALLEL}: drop -n")
    for name, (option, reason) in INTERFERING.items():
        for source, value in _settings(config, name, option):
            if value is None or value is False or value == "":
                continue  # not set here
            if str(value) not in OFF:
                raise UsageError(f"{reason}: drop {source}")
            break
    if (coverage := sys.modules.get("coverage")) and coverage.Coverage.current():
        dropped = "--cov" if config.getoption("cov_source", None) else "`coverage run`"
        raise UsageError(f"tracing slows what is timed: drop {dropped}")


def _settings(config: pytest.Config, name: str, option: str) -> Iterator[tuple[str, Any]]:
    """A plugin's setting from each place it is looked for in, first things first."""
    if (given := config.getoption(name, config)) is config:
        return  # nobody declares it
    yield option, given
    if name == "timeout":
        yield "PYTEST_TIMEOUT", os.environ.get("PYTEST_TIMEOUT")
    with contextlib.suppress(ValueError):  # it is not a setting of configuration files
        yield f"{name} from {config.inipath}", config.getini(name)
