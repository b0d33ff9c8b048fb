"""The comment on a pull request: made where something changed, of a report that is a stranger's."""

import base64
import contextlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import msgspec
import pytest

from bench.gate.comment import AUTHOR, COMMENT_BYTES, FILE, REPORT_BYTES, main, marker
from bench.records.gate_report import GateReport
from tests.commands import Done
from tests.gate.test_github import report, verdict

MARKER = marker("regress")
SHA = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "maintainer/library"
RUN = {
    "id": 77,
    "head_sha": SHA,
    "head_branch": "a branch&state=closed",
    "head_repository": {"owner": {"login": "stranger"}},
    "html_url": "https://github.com/maintainer/library/actions/runs/77",
    "conclusion": "failure",
}
GH = """#!{python} -IS
import base64, json, sys
from pathlib import Path

here = Path(__file__).parent
words = sys.argv[1:]
with (here / "calls").open("a") as calls:
    print(json.dumps(words), file=calls)
answers = json.loads((here / "answers.json").read_text())
found = [answer for path, answer in answers.items() if path in words]
if not found:
    sys.exit("gh: Not Found (HTTP 404)")
sys.stdout.buffer.write(base64.b64decode(found[0]))
"""
"""Stands for gh: notes its arguments, and answers for the paths that were prepared."""
LISTED = f"repos/{REPOSITORY}/pulls"
ARTIFACTS = f"repos/{REPOSITORY}/actions/runs/77/artifacts"
ARCHIVE = f"repos/{REPOSITORY}/actions/artifacts/5/zip"
COMMENTS = f"repos/{REPOSITORY}/issues/12/comments"
EARLIER = f"repos/{REPOSITORY}/issues/comments/9"


def zipped(content: bytes, name: str = FILE) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(name, content)
    return archive.getvalue()


def comment(
    folder: Path,
    left: GateReport | bytes | None,
    *,
    earlier: Sequence[dict[str, Any]] = (),
    pulls: Sequence[tuple[int, str]] = ((12, SHA),),
    size: int | None = None,
    run: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> tuple[Done, list[list[str]]]:
    """The command after a run that left this report, or archive; and what it asked GitHub."""
    archive = left if isinstance(left, bytes) else zipped(msgspec.json.encode(left))
    # The run was repeated: an earlier artifact of the name is listed too.
    sizes = [(4, 1), (5, size or len(archive)), (3, 1)]
    listed = [{"id": number, "size_in_bytes": size} for number, size in sizes if left is not None]
    answers = {
        LISTED: [{"number": number, "head": {"sha": sha}} for number, sha in pulls],
        ARTIFACTS: {"artifacts": listed},
        COMMENTS: [[*earlier], []],
        EARLIER: {},
    } | changes
    encoded = {path: json.dumps(answer).encode() for path, answer in answers.items()}
    encoded[ARCHIVE] = archive
    text = {path: base64.b64encode(answer).decode() for path, answer in encoded.items()}
    (folder / "answers.json").write_text(json.dumps(text))
    (folder / "event.json").write_text(json.dumps({"workflow_run": {**RUN, **run}}))
    (folder / "gh").write_text(GH.format(python=sys.executable))
    (folder / "gh").chmod(0o755)
    around = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_REPOSITORY": REPOSITORY,
        "ARTIFACT": "regress",
    }
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, around),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        done = Done(main(), out.getvalue(), err.getvalue())
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    assert all(words[:2] == ["api", "--method"] for words in calls)
    return done, [words[2:] for words in calls]


def written(calls: list[list[str]]) -> list[tuple[str, str, str]]:
    """What was written: method, path, body."""
    return [
        (method, path, field.removeprefix("body="))
        for method, path, *rest in calls
        if method != "GET"
        for field in rest
        if field.startswith("body=")
    ]


def mine(body: str = "old") -> dict[str, Any]:
    return {"id": 9, "user": {"login": AUTHOR}, "body": f"{MARKER}\n{body}"}


SLOWER = report(verdict("regressed"), verdict("equivalent", 64))
SAME = report(verdict("equivalent"))


def test_first_change_is_a_comment_with_the_table_and_its_source(tmp_path: Path) -> None:
    done, calls = comment(tmp_path, SLOWER)
    assert (done.exit_code, done.stderr) == (0, "")
    ((method, path, body),) = written(calls)
    assert (method, path) == ("POST", COMMENTS)
    assert body.startswith(f"{MARKER}\n### REGRESSED: 1 of 2 series slower.\n\n| ")
    assert "+5.00% ± 0.42%" in body
    assert SHA[:10] in body and str(RUN["html_url"]) in body


@pytest.mark.parametrize(
    ("found", "made"),
    [
        (report(verdict("improved"), verdict("equivalent", 64)), True),
        (report(verdict("improved"), verdict("inconclusive", 64)), True),
        (report(verdict("no baseline", reason="no")), True),
        (report(verdict("failed", reason="no")), True),
        (SAME, False),
        (report(verdict("inconclusive")), False),
        (report(verdict("invalid", reason="no")), False),
        (report(verdict("regressed"), outcome="invalid", reason="the control moved"), False),
    ],
)
def test_comment_is_made_only_where_there_is_news(
    tmp_path: Path, found: GateReport, made: bool
) -> None:
    done, calls = comment(tmp_path, found)
    assert done.exit_code == 0, done.stderr
    assert bool(written(calls)) is made


@pytest.mark.parametrize("found", [SLOWER, SAME, report(verdict("inconclusive"))])
def test_earlier_comment_is_updated_whatever_came_of_the_run(
    tmp_path: Path, found: GateReport
) -> None:
    _, calls = comment(tmp_path, found, earlier=[mine()])
    ((method, path, body),) = written(calls)
    assert (method, path) == ("PATCH", EARLIER)
    assert body.startswith(f"{MARKER}\n### {found.outcome.upper()}: ")


def test_only_its_own_comment_is_updated(tmp_path: Path) -> None:
    others = [
        {"id": 1, "user": {"login": "stranger"}, "body": f"{MARKER}\nmine"},
        {"id": 2, "user": {"login": AUTHOR}, "body": f"Another tool's. {MARKER}"},
        {"id": 3, "user": {"login": AUTHOR}, "body": f"{marker('regress-gpu')}\nAnother report's."},
    ]
    _, calls = comment(tmp_path, SLOWER, earlier=others)
    assert [method for method, _, _ in written(calls)] == ["POST"]


def test_run_without_a_report_updates_and_never_begins_a_comment(tmp_path: Path) -> None:
    done, calls = comment(tmp_path, None)
    assert done.exit_code == 0 and written(calls) == []
    assert "left no report" in done.stdout
    (tmp_path / "calls").unlink()
    _, calls = comment(tmp_path, None, earlier=[mine()])
    ((method, _, body),) = written(calls)
    assert method == "PATCH"
    assert "### NO VERDICT: the run left no report" in body


def test_run_with_nothing_to_measure_says_so(tmp_path: Path) -> None:
    _, calls = comment(tmp_path, None, earlier=[mine()], run={"conclusion": "success"})
    ((_, _, body),) = written(calls)
    assert "### NOT MEASURED: the run passed without a report" in body


def test_fork_that_is_gone_has_no_comment(tmp_path: Path) -> None:
    (tmp_path / "calls").touch()
    done, calls = comment(tmp_path, SLOWER, run={"head_repository": None})
    assert (done.exit_code, calls) == (0, [])


@pytest.mark.parametrize(
    "pulls", [(), ((12, "f" * 40),), ((12, SHA), (13, SHA))], ids=["none", "newer", "two"]
)
def test_pull_request_is_the_one_whose_head_was_measured(
    tmp_path: Path, pulls: Sequence[tuple[int, str]]
) -> None:
    done, calls = comment(tmp_path, SLOWER, earlier=[mine()], pulls=pulls)
    assert done.exit_code == 0
    assert written(calls) == []
    assert SHA in done.stdout


def test_branch_of_any_name_is_one_field_of_the_question(tmp_path: Path) -> None:
    _, calls = comment(tmp_path, SLOWER)
    asked = next(words for words in calls if LISTED in words)
    assert "head=stranger:a branch&state=closed" in asked


HOSTILE = "@everyone\n| x | <img src=a> [l](http://evil.example) `::error::` <!-- --> ${{ x }}"


def hostile() -> GateReport:
    found = report(verdict("regressed", reason=HOSTILE))
    for side in found.sides:
        side.what = side.torch = HOSTILE
    found.ended = {HOSTILE: HOSTILE}
    return msgspec.structs.replace(found, environment=HOSTILE)


def test_text_of_a_stranger_is_shown_as_text(tmp_path: Path) -> None:
    _, calls = comment(tmp_path, hostile())
    ((_, _, body),) = written(calls)
    shown = body.removeprefix(MARKER).replace(str(RUN["html_url"]), "")
    assert "everyone" in shown
    for live in ("@everyone", "<img", "[l]", "http://evil", "<!--", "\n| x |"):
        assert live not in shown.replace("\\<", "").replace("\\[", "")


def damaged(kind: int) -> bytes:
    """An archive whose file is not what it is compressed as."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", kind) as opened:
        opened.writestr(FILE, bytes(range(256)) * 40)
    content = bytearray(archive.getvalue())
    content[60:90] = bytes(30)
    return bytes(content)


BROKEN = {
    "not a zip": b"PK nothing",
    "cut off": zipped(b" " * 9999)[:-200],
    **{f"compressed as {n}": damaged(n) for n in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)},
    "compressed as LZMA": damaged(zipfile.ZIP_LZMA),
    "deeply nested": zipped(b'{"machine":' + b"[" * 200_000),
    "another file": zipped(b"{}", "../../report.json"),
    "not JSON": zipped(b"\xff{"),
    "another document": zipped(b'{"sumnet": {}}'),
    "nothing compared": zipped(
        msgspec.json.encode(msgspec.structs.replace(SLOWER, comparisons=[], verdicts=[]))
    ),
    "another case judged": zipped(
        msgspec.json.encode(
            msgspec.structs.replace(SLOWER, verdicts=[verdict("regressed", 1 << 20)])
        )
    ),
    "no number": zipped(
        msgspec.json.encode(
            msgspec.structs.replace(SLOWER, verdicts=[verdict("regressed", effect=1e300)])
        )
    ),
    "much when unpacked": zipped(b" " * (REPORT_BYTES + 1)),
}


@pytest.mark.parametrize("archive", BROKEN.values(), ids=BROKEN)
def test_artifact_that_is_no_report_is_said_to_be_none(tmp_path: Path, archive: bytes) -> None:
    done, calls = comment(tmp_path, archive, earlier=[mine()])
    assert (done.exit_code, done.stderr) == (0, "")
    ((_, _, body),) = written(calls)
    assert "### NO VERDICT: the run's " in body


def test_large_artifact_is_not_even_fetched(tmp_path: Path) -> None:
    done, calls = comment(tmp_path, SLOWER, size=REPORT_BYTES + 1)
    assert done.exit_code == 0
    assert not any(ARCHIVE in words for words in calls)


def test_long_table_fits_a_comment(tmp_path: Path) -> None:
    many = [verdict("regressed", 2**n, series=f"phase {m}") for n in range(20) for m in range(40)]
    _, calls = comment(tmp_path, report(*many))
    ((_, _, body),) = written(calls)
    assert len(body.encode()) < COMMENT_BYTES + 500
    assert "more rows did not fit" in body


def test_refusal_of_github_is_a_message(tmp_path: Path) -> None:
    done, _ = comment(tmp_path, SLOWER, pulls=((13, SHA),))
    assert done.exit_code == 4
    assert "issues/13/comments: gh: Not Found (HTTP 404)" in done.stderr
    assert "Traceback" not in done.stderr
