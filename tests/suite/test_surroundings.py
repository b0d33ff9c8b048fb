"""What surrounds a run: plugins, conftest.py, variables and folders, and measurements that fail."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from bench.errors import UnexpectedError, UsageError
from bench.matrix.plan import Plan
from bench.suite.measurement import Measurement
from bench.suite.plugin import INTERFERING, Suite, refuse_interfering
from tests.suite.driving import (
    ROOT,
    bench_run,
    finish,
    journals,
    run_files,
    run_pytest,
    start,
    stub_config,
    the_error,
)

PHASES = "bench/suite/test_phases.py"
SEED = "--preset=seed"
RAISES = "raise RuntimeError('not wanted here')\n"
SKIPS = """
import pytest

@pytest.fixture(autouse=True)
def not_today():
    pytest.skip("not today")
"""
MEASURES = """
import os
import pytest
from bench.runner.coordinator import Coordinator
from bench.runner.events import CaseEnded, SessionEnded, SessionStarted

def measure(self):
    print("measuring in", sorted(name for name in os.environ if name.startswith("PYTEST_")))
    self._on_event(SessionStarted(0.0))
    {what}
    for case in self.plan.cases:
        self._on_event(CaseEnded(case.id, "failed", "made up"))
    self._on_event(SessionEnded(1.0))

Coordinator.measure = measure
"""
"""A plugin in whose presence measuring takes no time: every case fails, after `what` is done."""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder for modules that a command can import."""
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


def install(library: Path, name: str, code: str) -> str:
    """Add a pytest plugin as pip would; its module's name."""
    module = f"{name}_plugin"
    (library / f"{module}.py").write_text(code)
    metadata = library / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    return module


def copy_of_the_code(folder: Path) -> Path:
    for package in ("bench", "sumnet"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


def check_collected(ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 tests collected" in ran.stdout


# Folders


def test_command_loads_no_conftest_and_no_settings_of_any_folder(
    tmp_path: Path, library: Path
) -> None:
    here = copy_of_the_code(tmp_path / "above" / "checkout")
    for folder in (tmp_path / "above", here, here / "bench"):
        (folder / "conftest.py").write_text(RAISES)
    (here / "pytest.ini").write_text("[pytest]\naddopts = --frobnicate\nminversion = 1000\n")
    check_collected(bench_run(SEED, "--collect-only", cwd=here))


def test_checkout_may_be_in_any_folder(tmp_path: Path) -> None:
    here = copy_of_the_code(tmp_path / "work [wip] ::test $HOME %d {x} é")
    ran = bench_run(SEED, "--collect-only", cwd=here)
    check_collected(ran)
    assert "\ntest_phases.py::test_phase[" in "\n" + ran.stdout


@pytest.mark.parametrize("verb", ["run", "ceilings"])
def test_command_may_be_given_anywhere_whatever_else_is_installed(
    tmp_path: Path, library: Path, verb: str
) -> None:
    copy_of_the_code(library)
    install(library, "unwanted", RAISES)
    install(library, "benchmark", RAISES)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tests").mkdir(parents=True)
    for folder in (elsewhere, elsewhere / "tests"):
        (folder / "conftest.py").write_text(RAISES)
    (elsewhere / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = ['--cov']\n")
    words = ("-k", "nothing", f"--results={tmp_path / 'results'}")
    ran = finish(start("bench", verb, *words, cwd=elsewhere, PYTHONPATH=str(library)))
    assert ran.returncode == 2
    assert the_error(ran.stderr).startswith("-k 'nothing' selects no c")
    assert not (tmp_path / "results").exists()


# Variables


def test_command_obeys_no_variable_of_pytests_and_hands_all_of_them_on(
    tmp_path: Path, library: Path
) -> None:
    install(library, "fake", MEASURES.format(what="pass"))
    given = {
        "PYTEST_ADDOPTS": "-n 2 --cov -x --maxfail=1 --timeout=1 --no-such-option --co -k none '",
        "PYTEST_PLUGINS": "absent",
        "PYTEST_TIMEOUT": "1",
        "PYTEST_XDIST_WORKER": "gw0",
    }
    words = (SEED, "-p", "fake", f"--results={tmp_path}")
    ran = bench_run(*words, PYTHONPATH=str(library), **given)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert re.search(r"^FFFF$", ran.stdout, re.MULTILINE)
    (names,) = re.findall(r"measuring in (\[.*\])", ran.stdout)
    assert given.keys() <= set(re.findall(r"\w+", names))
    assert "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in names


# Plugins


def test_command_loads_plugins_that_it_is_asked_to(library: Path) -> None:
    module = install(library, "one", "def pytest_report_collectionfinish():\n    return 'one here'")
    install(library, "two", "def pytest_report_collectionfinish():\n    return 'two here'")
    words = (SEED, "--collect-only", "-p", module, "-p", "two", "-p", "benchmark")
    ran = bench_run(*words, PYTHONPATH=str(library))
    check_collected(ran)
    assert "one here" in ran.stdout and "two here" in ran.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", 'Error importing plugin "absent": No module named'),
        ("no:terminal", "-p no:terminal: only what -p names is loaded"),
    ],
)
def test_plugin_that_cannot_be_loaded_is_wrong_usage(name: str, message: str) -> None:
    ran = bench_run(SEED, "--collect-only", "-p", name)
    assert ran.returncode == 2
    assert the_error(ran.stderr).startswith(message)


def test_pytest_without_pytest_benchmark_is_refused() -> None:
    ran = run_pytest(PHASES, SEED, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "add -p pytest_benchmark.plugin" in the_error(ran.stderr)


@pytest.mark.slow
def test_pytest_without_pytest_benchmark_is_helped_by_what_the_refusal_says() -> None:
    words = ("-p", "pytest_benchmark.plugin", PHASES, SEED, "--collect-only")
    check_collected(run_pytest(*words, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"))


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("-n", {"numprocesses": 2, "dist": "load"}),
        ("-n", {"numprocesses": "auto", "dist": "load"}),
        ("--dist", {"numprocesses": None, "dist": "loadscope"}),
        ("--forked", {"forked": True}),
        ("--timeout", {"timeout": 1.5}),
        ("--session-timeout", {"session_timeout": 60.0}),
        ("--reruns", {"reruns": 2}),
    ],
)
def test_option_of_another_plugin_that_interferes_is_refused(
    option: str, given: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match=rf": drop {option}$"):
        refuse_interfering(stub_config(**given))


def test_plugins_that_are_there_and_do_nothing_pass() -> None:
    refuse_interfering(stub_config())
    refuse_interfering(stub_config(**dict.fromkeys(INTERFERING), settings={"timeout": ""}))
    off = {"numprocesses": 0, "dist": "no", "forked": False, "timeout": 0.0, "reruns": 0}
    refuse_interfering(stub_config(**off, settings={"reruns": "0"}))


def test_time_limit_is_refused_wherever_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    in_file = stub_config(timeout=None, settings={"timeout": "30"})
    with pytest.raises(UsageError, match=r": drop timeout from pytest\.ini$"):
        refuse_interfering(in_file)
    monkeypatch.setenv("PYTEST_TIMEOUT", "30")
    with pytest.raises(UsageError, match=r": drop PYTEST_TIMEOUT$"):
        refuse_interfering(in_file)
    refuse_interfering(stub_config(timeout=0.0, settings={"timeout": "30"}))
    refuse_interfering(stub_config())  # which has no plugin that would read it


@pytest.mark.parametrize(("sources", "dropped"), [(["."], "--cov"), ([], "`coverage run`")])
def test_tracing_is_refused(
    monkeypatch: pytest.MonkeyPatch, sources: list[str], dropped: str
) -> None:
    tracing = SimpleNamespace(Coverage=SimpleNamespace(current=lambda: "a Coverage"))
    monkeypatch.setitem(sys.modules, "coverage", tracing)
    with pytest.raises(UsageError, match=rf": drop {dropped}$"):
        refuse_interfering(stub_config(cov_source=sources))
    tracing.Coverage.current = lambda: None
    refuse_interfering(stub_config(cov_source=sources))  # --no-cov


# Nothing measured, and measurements that fail


def test_session_in_which_every_test_is_skipped_is_not_a_success(
    tmp_path: Path, library: Path
) -> None:
    install(library, "skips", SKIPS)
    results = f"--results={tmp_path / 'results'}"
    ran = run_pytest(PHASES, SEED, results, PYTHONPATH=str(library))
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert the_error(ran.stderr).startswith("nothing was measured: every test was skipped")
    ran = bench_run(SEED, results, "-p", "skips", PYTHONPATH=str(library))
    assert ran.returncode == 2
    assert the_error(ran.stderr).startswith("nothing was measured: every test was skipped")
    assert not (tmp_path / "results").exists()


def check_failed_once(
    ran: subprocess.CompletedProcess[str], results: Path, error: str, verb: str = "run"
) -> None:
    """The error once, with its traceback; the journal once, with what finishes it."""
    assert ran.stderr.count("Traceback (most recent call last)") == 1
    assert re.findall(r"^ERROR: (.*)", ran.stderr, re.MULTILINE) == ["unexpected error"]
    assert ran.stderr.rstrip().endswith(error)
    assert "Traceback" not in ran.stdout and "ERROR" not in ran.stdout
    assert ran.stdout.count("measuring in") == 1
    (journal,) = journals(results)
    assert f"python -m bench {verb} --resume {shlex.quote(str(journal))}\n" in ran.stdout
    assert run_files(results) == []


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("pytest.fail('Timeout > 1 s')", "Failed: Timeout > 1 s"),
    ],
)
def test_measurement_that_fails_unexpectedly_is_not_begun_again(
    tmp_path: Path, library: Path, what: str, error: str
) -> None:
    install(library, "fake", MEASURES.format(what=what))
    ran = bench_run(SEED, "-p", "fake", f"--results={tmp_path}", PYTHONPATH=str(library))
    assert ran.returncode == 5
    check_failed_once(ran, tmp_path, error)


def fail(suite: Suite, error: BaseException) -> type[BaseException]:
    """Have a test of a suite ask for its run, which fails with this error; what that raises."""

    def measured(console: Console) -> None:
        raise error

    suite.measurement.measured = measured  # type: ignore[assignment,method-assign]
    capture = SimpleNamespace(global_and_fixture_disabled=contextlib.nullcontext)
    config = SimpleNamespace(pluginmanager=SimpleNamespace(getplugin=lambda name: capture))
    request: Any = SimpleNamespace(config=config, session=SimpleNamespace(items=[]))
    with pytest.raises((KeyboardInterrupt, pytest.exit.Exception)) as caught:
        suite._run(request)
    return caught.type


@pytest.fixture
def suite() -> Suite:
    return Suite(Measurement(Plan([], 1, 0), Path()))


@pytest.mark.parametrize(
    "error", [pytest.skip.Exception("enough"), SystemExit(0), GeneratorExit(), ValueError("x")]
)
def test_whatever_ends_the_measurement_ends_the_session(suite: Suite, error: BaseException) -> None:
    assert fail(suite, error) is pytest.exit.Exception
    assert suite.error is not None
    assert (suite.error.exit_status, type(suite.error)) == (5, UnexpectedError)
    assert str(suite.error).startswith("unexpected error\n\nTraceback")
    assert type(error).__name__ in str(suite.error).splitlines()[-1]


def test_interruption_of_the_measurement_ends_the_session_in_a_debugger_too(suite: Suite) -> None:
    assert fail(suite, interruption := KeyboardInterrupt()) is pytest.exit.Exception
    assert suite.interruption is interruption


def test_ceilings_that_fail_unexpectedly_name_what_finishes_them(
    tmp_path: Path, library: Path
) -> None:
    install(library, "fake", MEASURES.format(what="raise RuntimeError('boom')"))
    words = ("bench/suite/test_ceilings.py", "-k", "/op", "-s", f"--results={tmp_path}")
    ran = run_pytest(*words, PYTHONPATH=str(library))
    assert ran.returncode == pytest.ExitCode.INTERNAL_ERROR
    check_failed_once(ran, tmp_path, "RuntimeError: boom", "ceilings")


def test_run_file_that_cannot_be_made_leaves_the_journal(tmp_path: Path, library: Path) -> None:
    code = MEASURES.format(what="pass")
    code += "\ndef pytest_benchmark_generate_json():\n    raise RuntimeError('boom')\n"
    install(library, "fake", code)
    ran = bench_run(SEED, "-p", "fake", f"--results={tmp_path}", PYTHONPATH=str(library))
    assert ran.returncode == 5
    check_failed_once(ran, tmp_path, "RuntimeError: boom")


def test_suite_that_does_not_load_is_not_taken_for_wrong_usage(library: Path) -> None:
    install(library, "fake", "import sys\nsys.modules['bench.suite.clock'] = None\n")
    ran = bench_run(SEED, "-p", "fake", PYTHONPATH=str(library))
    assert ran.returncode == 4
    assert "bench.suite.clock" in ran.stderr


def test_error_that_pytest_lets_through_is_not_taken_for_a_failed_case(library: Path) -> None:
    install(library, "fake", "def pytest_unconfigure():\n    raise RuntimeError('boom')\n")
    ran = bench_run(SEED, "--collect-only", "-p", "fake", PYTHONPATH=str(library))
    assert ran.returncode == 5
    assert ran.stderr.startswith("error: unexpected error\n\nTraceback")
    assert ran.stderr.rstrip().endswith("RuntimeError: boom")
