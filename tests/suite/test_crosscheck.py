"""The checks against other ways to measure: that they work, not what they find."""

import pytest

from tests.suite.driving import ROOT, SEED_CASE, run_pytest


@pytest.mark.slow
def test_crosscheck_runs_its_case_and_skips_what_cannot_run_here_with_the_reason() -> None:
    crowded = SEED_CASE.replace("t1", "t1024")
    ran = run_pytest(
        "tests/crosschecks/test_crosscheck.py",
        "--benchmark-disable",
        f"--case={SEED_CASE}",
        f"--case={crowded}",
        "-rs",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed, 3 skipped" in ran.stdout
    assert "needs 1024 cores" in ran.stdout
    assert "warning" not in ran.stdout


@pytest.mark.slow
def test_other_ways_to_measure_ceilings_run_in_turn_with_ours() -> None:
    ran = run_pytest(
        "tests/crosschecks/test_ceilings_crosscheck.py",
        "--benchmark-disable",
        "-k",
        "float64-64",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout


def test_they_are_not_collected_unless_they_are_named() -> None:
    others = [path for path in (ROOT / "tests").iterdir() if path.name != "crosschecks"]
    left_out = [f"--ignore={path}" for path in others if path.name != "conftest.py"]
    ran = run_pytest("tests", "--all", "--collect-only", "-q", *left_out)
    assert ran.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, ran.stdout + ran.stderr
