"""The gate's outcome in GitHub Actions: commands it can parse, a summary that it accepts."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.github import (
    ANNOTATIONS,
    SUMMARY_BYTES,
    annotations,
    report_to_github,
    summary,
)
from bench.gate.views import headline, report_view
from bench.matrix.comparison import Comparison
from bench.records.gate_report import GateReport, SeriesVerdict
from bench.records.verdicts import INVALID, VERDICTS, Verdict
from bench.report.render import render
from bench.report.view import Table, View
from tests.cases import sumnet
from tests.gate import gating
from tests.gate.gating import record

COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)")


def verdict(
    word: Verdict, batch: int = 2, series: str = "train_step", **more: object
) -> SeriesVerdict:
    case = sumnet(batch=batch)
    found = SeriesVerdict(Comparison(case, case).id, series, word, base_ns=1e5, half=0.004)
    found.effect = {"regressed": math.log(1.05), "improved": math.log(0.9)}.get(word, 0.0)
    for name, value in more.items():
        setattr(found, name, value)
    return found


def report(*verdicts: SeriesVerdict, outcome: str | None = None, reason: str = "") -> GateReport:
    batches = {int(v.comparison.split("/b")[1].split("/")[0]): None for v in verdicts}
    comparisons = [Comparison(sumnet(batch=batch), sumnet(batch=batch)) for batch in batches]
    worst = min((v.verdict for v in verdicts), key=VERDICTS.index, default=INVALID)
    return gating.report(
        comparisons=comparisons,
        budget_s=60.0,
        series=[(v.comparison, v.series) for v in verdicts],
        verdicts=list(verdicts),
        outcome=outcome or worst,
        reason=reason,
    )


def decoded(line: str) -> tuple[str, str, str]:
    """Level, title and message of a command, as the runner reads it."""
    found = COMMAND.fullmatch(line)
    assert found is not None, line
    level, title, message = found.groups()
    for code, text in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        title = title.replace(code, text)
        message = message if text in ":," else message.replace(code, text)
    return level, title, message


def decoded_annotations(of: GateReport) -> list[tuple[str, str, str]]:
    return [decoded(line) for line in annotations(of)]


def test_equivalent_series_have_no_annotation() -> None:
    assert annotations(report(verdict("equivalent"), verdict("equivalent", 64))) == []


def test_regressed_case_is_one_error_with_all_its_series() -> None:
    found = report(
        verdict("regressed"), verdict("regressed", series="forward"), verdict("equivalent", 64)
    )
    (only,) = decoded_annotations(found)
    assert only == (
        "error",
        "Regressed: cpu/float32/b2/sgd/default/compile-off/h10/t1",
        "train_step: +5.00% ± 0.42% (lower quartile)\nforward: +5.00% ± 0.42% (lower quartile)",
    )


def test_every_verdict_has_its_level() -> None:
    found = report(
        verdict("regressed"),
        verdict("invalid", 4, reason="failed on head: it broke"),
        verdict("inconclusive", 8, more_pairs=7),
        verdict("improved", 16),
    )
    found.pairs = [record([0.0], wall_s=10.0)]
    lines = decoded_annotations(found)
    assert [level for level, _, _ in lines] == ["error", "error", "warning", "notice"]
    assert [title for _, title, _ in lines][1:] == [
        "Invalid: 1 of 4 series",
        "Inconclusive: 1 of 4 series",
        "Improved: 1 of 4 series",
    ]
    assert lines[1][2].endswith("/b4/sgd/default/compile-off/h10/t1: failed on head: it broke")
    assert lines[2][2].startswith("A clear regression ends a run")
    assert "-10.00%" in lines[3][2]


def test_what_is_inconclusive_comes_with_the_time_that_would_settle_it() -> None:
    found = report(verdict("inconclusive", 8, more_pairs=7))
    found.pairs = [record([0.0], wall_s=10.0)]
    (_, _, text), *rest = decoded_annotations(found)
    advice, _, series = text.partition("\n")
    assert "2 more minutes" in advice and advice.endswith("--budget 130.")
    assert "/b8/" in series and rest == []


def test_invalid_run_is_one_error() -> None:
    found = report(verdict("regressed"), verdict("improved", 4), outcome=INVALID, reason="it moved")
    assert decoded_annotations(found) == [("error", "Training step: invalid", "it moved")]


@pytest.mark.parametrize("invalid", [False, True])
def test_no_more_errors_than_github_shows_and_the_slowest_of_them(invalid: bool) -> None:
    slower = [
        verdict("regressed", 2**n, effect=n / 100, series=s) for n in range(1, 21) for s in "ab"
    ]
    others = [verdict("invalid", 1, reason="no")] * invalid
    lines = decoded_annotations(report(*slower, *others))
    assert len(lines) == ANNOTATIONS
    shown = ANNOTATIONS - 1 - invalid
    assert "/b1048576/" in lines[0][1]
    level, title, message = lines[shown]
    assert (level, title) == ("error", f"Regressed: and {20 - shown} more")
    assert message.count("\n") == 9
    assert message.endswith(f"and {20 - shown - 9} more")


def test_ten_regressed_cases_all_have_their_own_error() -> None:
    lines = decoded_annotations(report(*(verdict("regressed", 2**n) for n in range(ANNOTATIONS))))
    assert len(lines) == ANNOTATIONS
    assert not any("more" in title for _, title, _ in lines)


@given(st.text(st.sampled_from("a%:,\r\n=;0AD25"), max_size=12))
def test_whatever_a_reason_holds_is_one_command_and_comes_through(reason: str) -> None:
    found = report(verdict("regressed"), verdict("invalid", 4, reason=f"{reason}."))
    assert decoded(annotations(found)[1])[2].endswith(f"t1: {reason}.")


def text_of(view: View) -> str:
    return summary(view).decode()


def lines_view(*notes: str, rows: int = 0) -> View:
    return View([Table([{"verdict": f"± row {n}"} for n in range(rows)])], ["It did.", *notes])


def test_summary_has_the_outcome_once_the_table_and_the_notes() -> None:
    found = report(verdict("regressed"), verdict("equivalent", 64))
    view = report_view(found)
    text = text_of(view)
    assert text.count(headline(found)) == 1
    assert text.startswith(f"\n### {headline(found)}\n\n| ")
    assert (
        text.replace("\\", "")
        .replace(" ", "")
        .count(render(View(view.tables), "github").splitlines()[-1].replace(" ", ""))
    )
    assert text.endswith("\n")


def test_notes_of_a_summary_are_text_and_not_markdown() -> None:
    text = text_of(lines_view("a_b_c <b>|x</b> `y`\n# no heading"))
    assert r"- a\_b\_c \<b\>\|x\</b\> \`y\` \# no heading" in text


def test_cells_of_a_summary_are_text_too() -> None:
    text = text_of(
        View([Table([{"a_b": "x | <b>y</b> `z` [l](http://a.b)\n| new row"}])], ["It did."])
    )
    (row,) = [line for line in text.splitlines() if "new row" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 2
    assert not re.search(r"(?<!\\)[<>`\[\]]", row)
    assert r"a\_b" in text


@pytest.mark.parametrize(
    "text",
    [
        "@someone",
        "a @team/x",
        "#12",
        "owner/repo#12",
        "GH-12",
        "gh-12",
        "http://a.b",
        "www.a.b",
        "$x$",
    ],
)
def test_what_github_would_make_a_link_of_is_broken_up(text: str) -> None:
    shown = text_of(lines_view(text)).splitlines()[-1].removeprefix("- ").replace("\\", "")
    assert text not in shown or text == "$x$"
    assert shown.replace("\u200b", "") == text


def test_text_that_shows_as_something_else_is_left_out() -> None:
    assert "\n- a b c\n" in text_of(lines_view("a\u202e b\x1b\u200b c"))


@given(st.integers(0, 6000), st.integers(1, 60))
def test_summary_fits_the_room_and_counts_what_it_left_out(room: int, rows: int) -> None:
    view = lines_view("a line", rows=rows)
    text = summary(view, room)
    assert len(text) <= room
    if len(summary(view)) <= room:
        assert text == summary(view)
    elif room > 400:
        left_out = rows + 2 - sum(line.startswith("|") for line in text.decode().splitlines())
        assert f"\n- {left_out} more rows did not fit: the report has them.\n" in text.decode()
        assert text.endswith(b"- a line\n")


def surroundings(patch: pytest.MonkeyPatch, actions: str | None, summary: Path | None) -> None:
    for name, value in (("GITHUB_ACTIONS", actions), ("GITHUB_STEP_SUMMARY", summary)):
        if value is None:
            patch.delenv(name, raising=False)
        else:
            patch.setenv(name, str(value))


def test_annotations_go_to_the_log_and_the_view_to_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "summary.md"
    path.write_text("An earlier tool's.\n")
    surroundings(monkeypatch, "true", path)
    found = report(verdict("regressed"))
    report_to_github(found, report_view(found))
    assert capsys.readouterr() == (annotations(found)[0] + "\n", "")
    assert path.read_bytes() == b"An earlier tool's.\n" + summary(report_view(found))


def test_elsewhere_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    surroundings(monkeypatch, None, None)
    report_to_github(report(verdict("regressed")), lines_view())
    assert capsys.readouterr() == ("", "")


def test_summary_that_cannot_be_written_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    surroundings(monkeypatch, None, tmp_path)
    report_to_github(report(verdict("regressed")), lines_view())
    out, err = capsys.readouterr()
    assert out == ""
    assert str(tmp_path) in err and len(err.splitlines()) == 1


def test_summary_leaves_room_for_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * (SUMMARY_BYTES - 50))
    surroundings(monkeypatch, None, path)
    for _ in range(2):
        report_to_github(report(verdict("regressed")), lines_view("a line", rows=100))
    assert SUMMARY_BYTES - 4 <= path.stat().st_size <= SUMMARY_BYTES


def test_phases_that_do_not_count_are_a_notice_and_in_no_headline() -> None:
    why = "no phases on head: unclear"
    phases = [verdict(INVALID, series=name, reason=why) for name in ("forward", "backward", "step")]
    found = report(verdict("equivalent"), *phases, outcome="equivalent")
    found.without_phases = {phases[0].comparison: why}
    assert headline(found) == "EQUIVALENT: all 1 series within the margin."
    assert decoded_annotations(found) == [
        ("notice", "Not timed by phase", f"{phases[0].comparison}: {why}")
    ]


def test_steps_that_neither_side_can_build_are_a_warning() -> None:
    found = report(verdict("equivalent"), outcome="equivalent")
    found.nowhere = ["tiny on the head: NameError: no"]
    assert [level for level, _, text in decoded_annotations(found) if "tiny" in text] == ["warning"]
