"""The check of our times against pytest-benchmark's own loop: that it works, not what it finds."""

import pytest

from tests.suite.driving import SEED_CASE, run_pytest


@pytest.mark.slow
def test_crosscheck_runs_its_case_and_skips_what_cannot_run_here_with_the_reason() -> None:
    crowded = SEED_CASE.replace("t1", "t1024")
    ran = run_pytest(
        "bench/suite/test_crosscheck.py",
        "--benchmark-disable",
        f"--case={SEED_CASE}",
        f"--case={crowded}",
        "-rs",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed, 3 skipped" in ran.stdout
    assert "needs 1024 cores" in ran.stdout
    assert "warning" not in ran.stdout
