"""A comment on a pull request with what the gate found: `python -m sumnet_bench.gate.comment`.

It runs in a workflow of its own, on `workflow_run`, which may write comments and runs nothing of
the pull request's. What it reads comes from a stranger: the report is an artifact of a run that
the pull request's code took part in. So the report is limited in size and decoded by its schema,
its text is written anew, and the pull request is found by the event's head, not by the artifact.

Environment: GITHUB_EVENT_PATH, GITHUB_REPOSITORY, GH_TOKEN for `gh`, and ARTIFACT, its name.
"""

import io
import json
import lzma
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import MachineError, UsageError
from ..records.gate_report import GateReport, load_report
from ..records.verdicts import EQUIVALENT, INCONCLUSIVE, INVALID
from .github import summary
from .views import report_view

AUTHOR = "github-actions[bot]"
"""Who makes the comments, by a workflow's own token. Anyone can write their first line."""
FILE = "regress.json"
"""In the artifact."""
REPORT_BYTES = 8 * 2**20
"""A report of 24 series and 30 pairs has 50 kB."""
COMMENT_BYTES = 60_000
"""GitHub takes 65536 characters."""
BROKEN = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a file raises of what is no archive, lacks the file, or is damaged."""
QUIET = (EQUIVALENT, INCONCLUSIVE, INVALID)
"""Verdicts that no comment is made for; the check tells them."""


def main() -> int:
    """Make, update or leave out the comment; one line says which. The exit status."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    try:
        print(commented(event["workflow_run"], os.environ["GITHUB_REPOSITORY"]))
    except MachineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def commented(run: Mapping[str, Any], repository: str) -> str:
    """What was done about a finished run, in words.

    A comment is made where a series changed, and an earlier one updated whatever came of the run.
    Raises MachineError where GitHub refuses.
    """
    pull = _pull_request(run, repository)
    if pull is None:
        return f"no open pull request has {run['head_sha']} as its head: no comment"
    artifact = os.environ["ARTIFACT"]
    report, why = _report(run, repository, artifact)
    earlier = _earlier_comment(pull, repository, artifact)
    if earlier is None and (report is None or not is_news(report)):
        return f"#{pull}: {why or 'nothing changed'}: no comment"
    written = {"body": body(run, report, why, artifact)}
    if earlier is None:
        _gh("POST", f"repos/{repository}/issues/{pull}/comments", written)
        return f"#{pull}: commented"
    _gh("PATCH", f"repos/{repository}/issues/comments/{earlier}", written)
    return f"#{pull}: comment {earlier} updated"


def is_news(report: GateReport) -> bool:
    """Whether a comment is made for it: a series counts that is faster or slower, say."""
    return report.outcome != INVALID and any(v.verdict not in QUIET for v in report.counted)


def marker(artifact: str) -> str:
    """The first line of the comment on an artifact; a pull request has one for each."""
    return f"<!-- sumnet-bench: training step, {artifact} -->"


def body(run: Mapping[str, Any], report: GateReport | None, why: str, artifact: str) -> str:
    """The comment: the report, or why there is none; and the run that it is from."""
    source = (
        f"Commit {run['head_sha'][:10]}, as [its own run]({run['html_url']}) reports it in the "
        f"artifact `{artifact}`."
    )
    first = marker(artifact)
    if report is None:
        # A job passes without a report only where it had nothing to measure.
        word = "NOT MEASURED" if run["conclusion"] == "success" else "NO VERDICT"
        return f"{first}\n### {word}: {why}.\n\n{source}\n"
    found = summary(report_view(report), COMMENT_BYTES).decode()
    return f"{first}{found}\n{source}\n"


def _pull_request(run: Mapping[str, Any], repository: str) -> int | None:
    """The number of the one open pull request whose head the run measured, if it still is."""
    if run["head_repository"] is None:  # a fork that was deleted since
        return None
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    pulls = json.loads(_gh("GET", f"repos/{repository}/pulls", {"state": "open", "head": head}))
    numbers = [int(pull["number"]) for pull in pulls if pull["head"]["sha"] == run["head_sha"]]
    return numbers[0] if len(numbers) == 1 else None


def _report(
    run: Mapping[str, Any], repository: str, artifact: str
) -> tuple[GateReport | None, str]:
    """The run's report; or None, and why."""
    runs = f"repos/{repository}/actions/runs/{int(run['id'])}/artifacts"
    found = json.loads(_gh("GET", runs, {"name": artifact}))["artifacts"]
    if not found:
        if run["conclusion"] == "success":
            return None, "the run passed without a report: nothing that it measures changed"
        return None, "the run left no report, as its log explains"
    newest = max(found, key=lambda each: int(each["id"]))  # of a run that was repeated
    if newest["size_in_bytes"] > REPORT_BYTES:
        return None, "the run's report is too large to be one"
    archive = _gh("GET", f"repos/{repository}/actions/artifacts/{int(newest['id'])}/zip")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened, opened.open(FILE) as file:
            content = file.read(REPORT_BYTES + 1)
    except BROKEN:
        return None, f"the run's artifact holds no {FILE}"
    if len(content) > REPORT_BYTES:
        return None, "the run's report is too large to be one"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        path.write_bytes(content)
        try:
            report = load_report(path)
            summary(report_view(report))
        except (UsageError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # for it may say anything
            return None, "the run's report cannot be read"
    return report, ""


def _earlier_comment(pull: int, repository: str, artifact: str) -> int | None:
    """The id of the comment on an earlier report of this name."""
    pages = _gh("GET", f"repos/{repository}/issues/{pull}/comments", {"per_page": "100"}, all=True)
    for page in json.loads(pages):
        for comment in page:
            if (comment["user"] or {}).get("login") == AUTHOR and comment["body"].startswith(
                marker(artifact)
            ):
                return int(comment["id"])
    return None


def _gh(method: str, path: str, fields: Mapping[str, str] = {}, *, all: bool = False) -> bytes:
    """What GitHub answers; `all` is a list of its pages. Raises MachineError where it refuses."""
    words = ["gh", "api", "--method", method, path]
    words += ["--paginate", "--slurp"] if all else []
    for name, text in fields.items():
        words += ["--raw-field", f"{name}={text}"]
    try:
        done = subprocess.run(words, capture_output=True, check=False)
    except OSError as error:
        raise MachineError(f"cannot run gh: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise MachineError(f"gh api {path}: {said or f'exit status {done.returncode}'}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
