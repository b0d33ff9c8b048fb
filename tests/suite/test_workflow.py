"""The workflow that gates pull requests: what it may do, and which statuses fail it."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench.matrix.comparison import Comparison
from bench.records.gate_report import GateReport, Rules, write_report
from bench.records.verdicts import Verdict
from tests import synthetic
from tests.cases import sumnet
from tests.suite.driving import PATIENCE_S, ROOT

WORKFLOW = (ROOT / ".github" / "workflows" / "regress.yml").read_text()
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
NOX = """#!/bin/sh
echo "$@" >arguments
if [ -e prepared.json ]; then cp prepared.json regress.json; fi
exit "$STATUS"
"""
GIT = """#!/bin/sh
exit "$CHANGED"
"""


def script() -> str:
    """The step that measures and turns the verdict into the job's, as bash gets it."""
    (block,) = re.findall(r"^ {8}run: \|\n((?: {10}.*\n)+)", WORKFLOW, flags=re.MULTILINE)
    return textwrap.dedent(block)


def report(outcome: str) -> GateReport:
    comparison = Comparison(sumnet(), sumnet())
    return GateReport(
        machine=synthetic.machine(),
        started_at=synthetic.EPOCH,
        sides=[],
        rules=Rules(),
        budget_s=60.0,
        environment="steady",
        seed=0,
        comparisons=[comparison],
        series=[(comparison.id, "train_step")],
        outcome=outcome,
    )


def run(
    folder: Path,
    status: int,
    outcome: Verdict | None,
    *,
    changed: bool = True,
    step: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """The step, or another, where the gate ends with this status and leaves that report."""
    tools = folder / "tools"
    tools.mkdir()
    for name, text in (("nox", NOX), ("git", GIT)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    if outcome is not None:
        write_report(folder / "prepared.json", report(outcome))
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", step or script()],  # as GitHub runs it
        cwd=folder,
        env={**os.environ, "PATH": path, "STATUS": str(status), "CHANGED": str(int(changed))},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@needs_bash
@pytest.mark.parametrize(
    ("status", "outcome", "ends"),
    [
        (0, "equivalent", 0),
        (0, "improved", 0),
        (1, "regressed", 1),
        (3, "inconclusive", 0),
        (3, "invalid", 3),
        (4, "invalid", 4),
        (130, "invalid", 130),
    ],
)
def test_status_and_outcome_make_the_jobs_status(
    tmp_path: Path, status: int, outcome: Verdict, ends: int
) -> None:
    done = run(tmp_path, status, outcome)
    assert (done.returncode, done.stderr) == (ends, "")
    assert done.stdout == f"Exit status {status}, outcome {outcome}.\n"


@needs_bash
@pytest.mark.parametrize(("status", "ends"), [(0, 4), (1, 1), (2, 2), (3, 3), (4, 4)])
def test_no_report_is_no_verdict_whatever_the_status(
    tmp_path: Path, status: int, ends: int
) -> None:
    done = run(tmp_path, status, None)
    assert done.returncode == ends
    assert f"::error title=No verdict::Exit status {status} and no report." in done.stdout


@needs_bash
@pytest.mark.parametrize(
    ("status", "outcome", "ends"),
    [
        (0, "equivalent", 0),
        (1, "regressed", 1),
        (1, None, 1),
        (3, "inconclusive", 75),
        (3, "invalid", 3),
        (4, None, 4),
    ],
)
def test_gitlab_example_lets_the_inconclusive_alone_fail_softly(
    tmp_path: Path, status: int, outcome: Verdict | None, ends: int
) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((ROOT / "docs" / "examples" / "gitlab-ci.yml").read_text())["regress"]
    assert job["allow_failure"] == {"exit_codes": [75]}
    assert run(tmp_path, status, outcome, step=job["script"][-1]).returncode == ends


@needs_bash
def test_unchanged_subject_is_measured_as_the_same_on_purpose(tmp_path: Path) -> None:
    for changed, words in ((True, []), (False, ["--same"])):
        folder = tmp_path / str(changed)
        folder.mkdir()
        run(folder, 0, "equivalent", changed=changed)
        arguments = (folder / "arguments").read_text().split()
        assert arguments == ["-s", "regress", "--", "--report", "regress.json", *words]


@needs_bash
def test_without_its_documented_line_inconclusive_fails(tmp_path: Path) -> None:
    lines = script().splitlines()
    (before,) = [n for n, line in enumerate(lines) if "drop this line" in line]
    left = "\n".join(lines[: before + 1] + lines[before + 2 :])
    assert "inconclusive" not in left
    assert "inconclusive" in script()
    done = run(tmp_path, 3, "inconclusive", step=left)
    assert (done.returncode, done.stdout) == (3, "Exit status 3, outcome inconclusive.\n")


def test_foreign_code_runs_without_secrets_and_may_only_read() -> None:
    assert re.search(r"^  pull_request:", WORKFLOW, flags=re.MULTILINE)
    assert not re.search(r"^ *pull_request_target:", WORKFLOW, flags=re.MULTILINE)
    assert re.search(r"^permissions:\n  contents: read\n\n", WORKFLOW, flags=re.MULTILINE)
    assert "secrets." not in WORKFLOW
    assert "persist-credentials: false" in WORKFLOW
    # What a stranger may choose, such as a title, would be pasted into the script.
    assert "${{" not in script()


def test_history_is_there_and_the_report_is_kept_whatever_happens() -> None:
    assert "fetch-depth: 0" in WORKFLOW
    upload = WORKFLOW[WORKFLOW.index("actions/upload-artifact@v4") :]
    assert "if: always()" in upload
    assert "path: regress.json" in upload


def test_torch_is_the_version_that_the_noxfile_has() -> None:
    found = re.search(r'"(torch==[\d.]+)"', (ROOT / "noxfile.py").read_text())
    assert found is not None
    assert f"SUMNET_TORCH: {found[1]}+cpu\n" in WORKFLOW


def test_workflow_is_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(WORKFLOW)
    (job,) = document["jobs"].values()
    assert job["timeout-minutes"] == 20
    assert [step["run"] for step in job["steps"] if "\n" in step.get("run", "")] == [script()]
