"""A file's training steps as items of a user's pytest session: one for each case."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ..compare.views import comparison_view
from ..errors import BenchError, UnexpectedError, UsageError
from ..matrix.case import Case
from ..matrix.default_step import Catalogue
from ..matrix.plan import Plan
from ..matrix.presets import DEFAULT_PRESET, PRESETS, select
from ..options import option_named
from ..records.run_file import CaseRecord
from ..report.render import render
from ..report.terminal import table_width
from ..runner.discovery import catalogue_in
from .measurement import Measurement
from .plan import order_seed
from .plugin import refuse_interfering, unfinished


def given(config: pytest.Config, name: str) -> Any:
    """The value of an option of `run` as this session words it. Raises UsageError."""
    option = replace(option_named(name, "run"), typed=f"--sumnet-{name}")
    return option.value(config.getoption(f"sumnet_{name}"))


class CaseItem(pytest.Item):
    """One case. It passes where the case was measured."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        assert isinstance(self.parent, StepsFile)
        record = self.parent.record_of(self.case)
        if record.status == "unsupported":
            pytest.skip(f"{record.reason}")
        if record.status != "ok":
            raise UsageError(f"{record.status}: {record.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, BenchError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.case.id


class StepsFile(pytest.File):
    """A file that declares steps. All its cases are measured when the first is asked for."""

    measurement: Measurement | None = None
    _catalogue = Catalogue()
    _error: BenchError | None = None

    def collect(self) -> Iterable[CaseItem]:
        try:
            devices = given(self.config, "device")
            self._catalogue = catalogue_in(self.path, str(devices[0]))
        except BenchError as error:
            raise self.CollectError(str(error)) from None
        for case in select(DEFAULT_PRESET, {"device": devices}, self._catalogue.steps):
            yield CaseItem.from_parent(self, name=case.id, case=case)

    def record_of(self, case: Case) -> CaseRecord:
        """What was measured of a case. Raises BenchError where nothing could be."""
        if self.measurement is None:
            self.measurement = self._planned()
            try:
                self._measure(self.measurement)
            except BenchError as error:
                self._error = error
            except Exception as error:
                self._error = UnexpectedError(error)
        if self._error is not None:
            raise self._error
        assert self.measurement.run is not None
        return next(record for record in self.measurement.run.cases if record.id == case.id)

    def _planned(self) -> Measurement:
        items = [i for i in self.session.items if isinstance(i, CaseItem) and i.parent is self]
        preset, budget_s = PRESETS[DEFAULT_PRESET], given(self.config, "budget")
        plan = Plan(
            [item.case for item in items],
            preset.replicates,
            preset.budget_s if budget_s is None else budget_s,
            steps=self._catalogue.file,
            seed=order_seed(),
            preset=DEFAULT_PRESET,
        )
        return Measurement(plan, given(self.config, "results"), self._catalogue)

    def _measure(self, measurement: Measurement) -> None:
        with self._uncaptured():
            measurement.measured(Console(stderr=True, highlight=False))
        measurement.write({})

    @contextlib.contextmanager
    def _uncaptured(self) -> Iterator[None]:
        """Let progress reach the terminal, where pytest captures output."""
        capture = self.config.pluginmanager.getplugin("capturemanager")
        if capture is None:
            yield
            return
        with capture.global_and_fixture_disabled():
            yield


class Steps:
    """The plugin while steps are measured: what it refuses, and what it prints at the end."""

    def __init__(self, config: pytest.Config) -> None:
        """Raises pytest.UsageError beside what would disturb the measurement."""
        try:
            refuse_interfering(config)
            for name in ("device", "budget", "results"):
                given(config, name)
        except UsageError as error:
            raise pytest.UsageError(f"--sumnet: {error}") from None
        self._session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        items = self._session.items if self._session is not None else []
        parents = dict.fromkeys(item.parent for item in items if isinstance(item, CaseItem))
        for file in parents:
            if isinstance(file, StepsFile) and file.measurement is not None:
                terminalreporter.section(f"training steps of {file.nodeid}")
                print_measured(file.measurement, terminalreporter)


def print_measured(measurement: Measurement, reporter: pytest.TerminalReporter) -> None:
    """The table of a run and where it is kept, or how to finish it."""
    if measurement.journal is not None:
        reporter.write_line(unfinished(measurement))
    elif (run := measurement.run) is not None:
        view = comparison_view([run], [run.machine.name])
        reporter.write_line(render(view, "github", table_width(False)))
        reporter.write_line(f"Run file: {measurement.run_path}")
