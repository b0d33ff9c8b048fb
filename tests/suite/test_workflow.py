"""What runs in CI: what workflows and actions may do, and which verdicts fail the job."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.matrix.comparison import Comparison
from bench.records.gate_report import GateReport, Rules, SeriesVerdict, write_report
from bench.records.verdicts import Verdict
from tests import synthetic
from tests.cases import sumnet
from tests.suite.driving import PATIENCE_S, ROOT

yaml = pytest.importorskip("yaml")
ACTIONS = [ROOT / "action.yml", ROOT / ".github" / "actions" / "comment" / "action.yml"]
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "docs" / "examples" / "github").glob("*.yml"))
WORKFLOWS = [*OURS, *EXAMPLES]
BESIDE_A_TOKEN = {
    "actions/checkout",
    "actions/download-artifact",
    "./.github/actions/comment",
    "OWNER/sumnet-bench/.github/actions/comment",
}
"""What a job that may write uses: none of it runs the code of a change."""
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
SCRIPT = (ROOT / ".ci" / "regress").read_text()
TOOL = """#!/bin/sh
printf '%s\\n' "$@" >arguments
if [ -e prepared.json ]; then cp prepared.json "{report}"; fi
exit "$STATUS"
"""
"""Stands for the gate: notes its arguments, and leaves the report that was prepared."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def loaded(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def triggers(workflow: dict[Any, Any]) -> dict[str, Any]:
    """What stands under `on`, which YAML 1.1 reads as true."""
    found = workflow[True]
    return {found: None} if isinstance(found, str) else found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    """Of a workflow's jobs, or of a composite action."""
    document = loaded(path)
    for part in document.get("jobs", {"": document.get("runs")}).values():
        yield from part["steps"]


# What they may do


@pytest.mark.parametrize("path", [*ACTIONS, *WORKFLOWS], ids=name)
def test_nothing_is_pasted_into_a_script(path: Path) -> None:
    """An input or an event's text, which a stranger may choose, is no part of what bash runs."""
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        assert step.get("shell", "bash") == "bash"


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_workflow_runs_foreign_code_without_rights(path: Path) -> None:
    workflow = loaded(path)
    assert "pull_request_target" not in triggers(workflow)
    assert "secrets." not in path.read_text()
    writes = {
        right
        for part in (workflow, *workflow["jobs"].values())
        for right, how in part.get("permissions", {}).items()
        if how != "read"
    }
    if "pull_request" in triggers(workflow):
        assert writes == set()
    if "workflow_run" in triggers(workflow):
        assert writes == {"pull-requests"}
        assert not any("ref" in step.get("with", {}) for step in steps(path))


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_each_job_has_the_rights_that_it_needs_and_no_others(path: Path) -> None:
    """Without `permissions` a token has what the repository's settings give: it may be all."""
    workflow = loaded(path)
    jobs = workflow["jobs"].values()
    assert workflow["permissions"] in ({}, {"contents": "read"})
    assert workflow["permissions"] or all("permissions" in job for job in jobs)
    for job in jobs:
        if "write" in job.get("permissions", {}).values():
            used = {step["uses"].split("@")[0] for step in job["steps"] if "uses" in step}
            assert used <= BESIDE_A_TOKEN


@pytest.mark.parametrize("path", [*ACTIONS, *WORKFLOWS], ids=name)
def test_only_githubs_own_actions_by_their_commit_and_this_one_are_used(path: Path) -> None:
    for step in steps(path):
        used = step.get("uses", "./")
        assert re.fullmatch(
            r"actions/[\w-]+@[0-9a-f]{40}|\./.*|OWNER/sumnet-bench\S*@VERSION", used
        )
        if used.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_an_action_has_the_same_commit_and_version_everywhere() -> None:
    lines = [
        line
        for path in (*ACTIONS, *WORKFLOWS, ROOT / "docs" / "ci.md")
        for line in path.read_text().splitlines()
        if " actions/" in line or "{uses: actions/" in line
    ]
    found = {
        re.search(r"(actions/[\w-]+)@([0-9a-f]{40})\b.*  # (v[\d.]+)$", line) for line in lines
    }
    assert None not in found
    pins = {each.groups() for each in found if each is not None}
    assert len(pins) == len({action for action, _, _ in pins})


def test_comment_is_made_by_packages_that_are_locked() -> None:
    """The one job of this repository's that may write: what it runs was named by its hash."""
    install = next(step["run"] for step in steps(ACTIONS[1]) if "run" in step)
    pip, locked, project = re.findall(r"\$?pip\b.*", install)
    assert pip == 'pip="python -P -m pip install --no-deps"'
    assert {"--require-hashes", "--only-binary", "requirements.lock"} <= set(locked.split())
    assert project == "$pip --no-build-isolation ."


@pytest.mark.parametrize(
    "path", [path for path in WORKFLOWS if path.name == "regress.yml"], ids=name
)
def test_required_check_is_never_skipped(path: Path) -> None:
    """GitHub takes a skipped job for one that passed, and waits for a workflow left out."""
    workflow = loaded(path)
    assert not (triggers(workflow)["pull_request"] or {})
    (job,) = workflow["jobs"].values()
    assert not {"if", "needs", "continue-on-error"} & job.keys()
    assert not any({"if", "continue-on-error"} & step.keys() for step in job["steps"])
    assert any(step.get("with", {}).get("fetch-depth") == 0 for step in job["steps"])


def test_what_a_library_has_to_write_is_ten_lines_and_stands_in_the_page() -> None:
    text = (ROOT / "docs" / "examples" / "github" / "regress.yml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) <= 10
    assert "\n".join(["```yaml", *lines, "```"]) in (ROOT / "docs" / "ci.md").read_text()


def test_comment_follows_the_workflow_that_measures() -> None:
    for folder in (ROOT / ".github" / "workflows", ROOT / "docs" / "examples" / "github"):
        followed = triggers(loaded(folder / "comment.yml"))["workflow_run"]["workflows"]
        assert followed == [loaded(folder / "regress.yml")["name"]]
    inputs = [loaded(path)["inputs"]["artifact"]["default"] for path in ACTIONS]
    assert len(set(inputs)) == 1


def test_every_input_is_used_and_in_the_page() -> None:
    action = (ROOT / "action.yml").read_text()
    (table,) = re.findall(
        r"^\| input of.*?\n\n", (ROOT / "docs" / "ci.md").read_text(), re.M | re.S
    )
    for declared in loaded(ROOT / "action.yml")["inputs"]:
        assert f"inputs.{declared} " in action or f"inputs.{declared})" in action
        assert f"`{declared}`" in table


def test_every_variable_of_the_script_is_set_by_the_action() -> None:
    given = {variable for step in steps(ROOT / "action.yml") for variable in step.get("env", {})}
    read = set(re.findall(r"\$\{?([A-Z_]+)\b(?!-)", SCRIPT)) | {"ARGUMENTS"}
    assert read - given == {"GITHUB_OUTPUT", "GITHUB_BASE_REF"}


def test_torch_is_the_version_that_the_noxfile_has() -> None:
    found = re.search(r'"(torch==[\d.]+)"', (ROOT / "noxfile.py").read_text())
    assert found is not None
    for path in (*OURS, *ACTIONS):
        assert set(re.findall(r"torch==[\d.]+", path.read_text())) <= {found[1]}
    assert found[1] in (ROOT / ".github" / "workflows" / "regress.yml").read_text()


# The verdict and the job


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


def prepare(folder: Path, outcome: str | None) -> None:
    """Have the gate leave a report with this outcome, which this version need not know."""
    if outcome is not None:
        write_report(folder / "prepared.json", report(outcome))


def tools(folder: Path, gate: str, to: str) -> str:
    """A PATH on which the command that gates is a fake that leaves its report there."""
    place = folder / "tools"
    place.mkdir()
    (place / gate).write_text(TOOL.format(report=to))
    (place / gate).chmod(0o755)
    (place / "python").symlink_to(sys.executable)
    return f"{place}{os.pathsep}{os.environ['PATH']}"


def run(
    folder: Path, status: int = 0, outcome: str | None = "equivalent", **inputs: str
) -> subprocess.CompletedProcess[str]:
    """The action's script in a folder, where the gate ends so; `inputs` by their variables."""
    prepare(folder, outcome)
    names = ("STEPS", "BUILD", "BASE", "PATHS", "BUDGET", "ARGUMENTS", "TORCH_INDEX")
    given = dict.fromkeys(names, "") | {"ON_INCONCLUSIVE": "warn", "ON_NO_BASELINE": "fail"}
    given |= {"REPORT": str(folder / "temp" / "regress.json"), "STATUS": str(status)}
    given |= {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_BASE_REF": ""}
    around = {**os.environ, **given, "PATH": tools(folder, "sumnet-bench", "$REPORT"), **inputs}
    return subprocess.run(
        ["bash", str(ROOT / ".ci" / "regress")],
        cwd=folder,
        env=around,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def output(folder: Path) -> dict[str, str]:
    lines = (folder / "output").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


@needs_bash
@pytest.mark.parametrize(
    ("status", "outcome", "ends"),
    [
        (0, "equivalent", 0),
        (0, "improved", 0),
        (1, "regressed", 1),
        (3, "inconclusive", 0),
        (3, "invalid", 3),
        (3, "no baseline", 3),
        (4, "invalid", 4),
        (130, "invalid", 130),
        (0, "regressed", 4),
        (0, "inconclusive", 4),
        (0, "a new word", 4),
        (3, "a new word", 3),
        (1, "failed", 1),
    ],
)
def test_status_and_outcome_make_the_jobs_status(
    tmp_path: Path, status: int, outcome: str, ends: int
) -> None:
    done = run(tmp_path, status, outcome)
    assert (done.returncode, done.stderr) == (ends, "")
    assert done.stdout.startswith(f"Exit status {status}, outcome {outcome}.\n")
    assert output(tmp_path) == {
        "report": str(tmp_path / "temp" / "regress.json"),
        "outcome": outcome,
    }


@needs_bash
@pytest.mark.parametrize(
    ("outcome", "variable", "passes"),
    [("inconclusive", "ON_INCONCLUSIVE", True), ("no baseline", "ON_NO_BASELINE", False)],
)
def test_what_is_not_settled_passes_only_where_that_was_asked_for(
    tmp_path: Path, outcome: str, variable: str, passes: bool
) -> None:
    for how, ends in (("warn", 0), ("fail", 3), ("wran", 3)):
        folder = tmp_path / how
        folder.mkdir()
        assert run(folder, 3, outcome, **{variable: how}).returncode == ends
    (tmp_path / "default").mkdir()
    assert (run(tmp_path / "default", 3, outcome).returncode == 0) is passes


@needs_bash
@pytest.mark.parametrize(("status", "ends"), [(0, 4), (1, 1), (2, 2), (3, 3), (4, 4)])
def test_no_report_is_no_verdict_whatever_the_status(
    tmp_path: Path, status: int, ends: int
) -> None:
    (tmp_path / "temp").mkdir()
    write_report(tmp_path / "temp" / "regress.json", report("equivalent"))  # an earlier job's
    done = run(tmp_path, status, None)
    assert done.returncode == ends
    assert f"::error title=No verdict::Exit status {status} and no report." in done.stdout
    assert output(tmp_path) == {"outcome": "none"}


@needs_bash
@pytest.mark.parametrize("content", ["{", "[]", '{"outcome": "improved\\nreport=/etc"}'])
def test_report_that_says_no_outcome_fails(tmp_path: Path, content: str) -> None:
    (tmp_path / "prepared.json").write_text(content)
    assert run(tmp_path, 0, None).returncode == 4
    assert output(tmp_path)["outcome"] == "none"


@needs_bash
def test_inputs_reach_the_gate_as_words(tmp_path: Path) -> None:
    hostile = "$(touch owned); `touch owned`"
    done = run(
        tmp_path,
        STEPS="my steps.py",
        BUILD=f"pip install . && echo {hostile}",
        BUDGET="60",
        ARGUMENTS="--batch 32 --workload 'A=b c' $HOME",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "arguments").read_text().splitlines() == [
        *("regress", "my steps.py", "--head", "HEAD"),
        *("--report", str(tmp_path / "temp" / "regress.json")),
        *("--build", f"pip install . && echo {hostile}", "--budget", "60"),
        *("--batch", "32", "--workload", "A=b c", "$HOME"),
    ]
    assert not (tmp_path / "owned").exists()


@needs_bash
@pytest.mark.parametrize("base", ["mian", "-x", "$(touch owned)"])
def test_base_that_is_no_commit_is_an_error_and_no_pass(checkout: Path, base: str) -> None:
    done = run(checkout, BASE=base)
    assert done.returncode == 2
    assert f"::error title=No verdict::base: {base} is no commit" in done.stdout
    assert not (checkout / "arguments").exists() and not (checkout / "owned").exists()


@needs_bash
@pytest.mark.parametrize(
    "more", ["--base HEAD", "--head=HEAD~1", "--report x.json", "--same", "--base-env A=b"]
)
def test_arguments_do_not_change_what_is_compared(tmp_path: Path, more: str) -> None:
    done = run(tmp_path, ARGUMENTS=f"--batch 32 {more}")
    assert done.returncode == 2
    assert f"::error title=No verdict::arguments: {more.split()[0]}: " in done.stdout
    assert not (tmp_path / "arguments").exists()


@needs_bash
@pytest.mark.parametrize(("inconclusive", "ends"), [("warn", 0), ("fail", 3)])
def test_allowing_no_baseline_allows_nothing_else(
    tmp_path: Path, inconclusive: str, ends: int
) -> None:
    found = report("no baseline")
    words: tuple[Verdict, ...] = ("no baseline", "equivalent", "inconclusive")
    found.verdicts = [SeriesVerdict(found.comparisons[0].id, word, word) for word in words]
    write_report(tmp_path / "prepared.json", found)
    done = run(tmp_path, 3, None, ON_NO_BASELINE="warn", ON_INCONCLUSIVE=inconclusive)
    assert done.returncode == ends, done.stdout


@needs_bash
def test_quote_that_is_not_closed_measures_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, ARGUMENTS="--batch '32")
    assert done.returncode == 2
    assert "::error title=No verdict::arguments: " in done.stdout
    assert not (tmp_path / "arguments").exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A pull request's, in which only the documents differ from the branch that it is for."""

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch", "main")
    for path in ("code/model.py", "docs/page.md"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text("before\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "Before")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    (tmp_path / "docs" / "page.md").write_text("after\n")
    git("commit", "--quiet", "--all", "--message", "After")
    return tmp_path


@needs_bash
@pytest.mark.parametrize(
    ("paths", "measured"),
    [
        (":/", True),
        ("", True),
        ("code", False),
        ("code/*.py", False),
        (".", True),
        (". :!docs", False),
        ("code docs", True),
        ("code\ndocs\n", True),
    ],
)
def test_nothing_is_measured_only_where_no_path_changed(
    checkout: Path, paths: str, measured: bool
) -> None:
    done = run(checkout, PATHS=paths, GITHUB_BASE_REF="main")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / "arguments").exists() is measured
    assert output(checkout)["outcome"] == ("equivalent" if measured else "unchanged")
    assert ("::notice title=Not measured::" in done.stdout) is not measured


@needs_bash
def test_path_that_fits_nothing_is_an_error_and_no_pass(checkout: Path) -> None:
    done = run(checkout, PATHS="cod", GITHUB_BASE_REF="main")
    assert done.returncode == 2
    assert "::error title=No verdict::paths: cod:" in done.stdout


@needs_bash
def test_change_of_a_submodule_is_measured_whatever_git_is_told_to_ignore(checkout: Path) -> None:
    def git(*words: str) -> None:
        who = (
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-c",
            "protocol.file.allow=always",
        )
        subprocess.run(["git", *who, *words], cwd=checkout, check=True, capture_output=True)

    git("clone", "--quiet", ".", "other")
    git("submodule", "add", "./other", "code/dep")
    git("config", "--file", ".gitmodules", "submodule.code/dep.ignore", "all")
    git("add", ".gitmodules")
    git("commit", "--quiet", "--message", "With a submodule")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("-C", "code/dep", "commit", "--quiet", "--allow-empty", "--message", "Newer")
    git("update-index", "--cacheinfo", f"160000,{head(checkout / 'code/dep')},code/dep")
    git("commit", "--quiet", "--message", "The newer one")
    run(checkout, PATHS="code", GITHUB_BASE_REF="main")
    assert (checkout / "arguments").exists()


def head(folder: Path, revision: str = "HEAD") -> str:
    words = ["git", "-C", str(folder), "rev-parse", revision]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@needs_bash
def test_path_that_the_change_removes_is_one_that_changed(checkout: Path) -> None:
    subprocess.run(["git", "rm", "--quiet", "-r", "code"], cwd=checkout, check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, "commit", "--quiet", "-m", "Less"], cwd=checkout, check=True)
    run(checkout, PATHS="code", GITHUB_BASE_REF="main")
    assert (checkout / "arguments").exists()


@needs_bash
@pytest.mark.parametrize("target", ["", "gone"])
def test_without_a_known_base_everything_is_measured(checkout: Path, target: str) -> None:
    done = run(checkout, PATHS="code", GITHUB_BASE_REF=target)
    assert (checkout / "arguments").exists()
    assert done.returncode == 0


@needs_bash
@pytest.mark.parametrize("inputs", [{"GITHUB_BASE_REF": "main"}, {"BASE": "HEAD~1"}])
def test_gate_is_given_the_base_as_a_commit(checkout: Path, inputs: dict[str, str]) -> None:
    run(checkout, ARGUMENTS="--base-env A=b", **inputs)
    words = (checkout / "arguments").read_text().splitlines()
    assert words[words.index("--base") + 1] == head(checkout, "HEAD~1")


@needs_bash
def test_stated_base_decides_what_changed(checkout: Path) -> None:
    run(checkout, PATHS="docs", BASE="HEAD", GITHUB_BASE_REF="main")
    assert output(checkout)["outcome"] == "unchanged"


@needs_bash
@pytest.mark.parametrize(
    ("status", "outcome", "ends"),
    [
        (0, "equivalent", 0),
        (1, "regressed", 1),
        (1, None, 1),
        (3, "inconclusive", 75),
        (3, "invalid", 3),
        (3, "no baseline", 3),
        (4, None, 4),
    ],
)
def test_gitlab_example_lets_the_inconclusive_alone_fail_softly(
    tmp_path: Path, status: int, outcome: Verdict | None, ends: int
) -> None:
    job = loaded(ROOT / "docs" / "examples" / "gitlab-ci.yml")["regress"]
    assert job["allow_failure"] == {"exit_codes": [75]}
    prepare(tmp_path, outcome)
    done = subprocess.run(
        ["bash", "-e", "-c", job["script"][-1]],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": tools(tmp_path, "sumnet-bench", "regress.json"),
            "STATUS": str(status),
        },
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == ends
