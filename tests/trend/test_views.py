"""Histories as people read them: the table, its notes, the chart, and what is refused."""

import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pandas as pd
import pytest

from bench.machine.fingerprint import Machine, fingerprint
from bench.machine.sampling import Health, HostHealth
from bench.matrix.case import Case
from bench.matrix.ceiling import ceilings
from bench.records.run_file import RunRecord
from bench.trend import chart as trend_chart
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.roofline.test_chart import browsed, in_browser, marks, texts_of
from tests.suite.driving import ROOT
from tests.synthetic import GPU, OTHER_GPUS, Moods, measured_on

SGD = sumnet()
ADAM = sumnet(batch=1024, optimizer="adam")
OURS = "test-cpu-4c-8gib"
OTHER = synthetic.machine("other-cpu-8c-16gib")
DAY = 86400
NEWER = synthetic.machine(torch="2.14.0", commit="abcdef0123")


def a_run(day: int, times: dict[Case, float], on: Machine | None = None, **of: Any) -> RunRecord:
    """A run that was measured on that day, from the 15th of January 2027 on."""
    run = synthetic.run(times, moods=Moods(seed=day), on=on, **of)
    for session in run.sessions:
        session.started_at += day * DAY
        session.ended_at += day * DAY
    return run


def saved(
    folder: Path, runs: Sequence[RunRecord], named: str = "202701{:02}T080000Z"
) -> list[Path]:
    """Under results/MACHINE, a file a day."""
    return [
        synthetic.run_file(
            folder / run.machine.name / f"{named.format(15 + day)}-{run.machine.commit}.json", run
        )
        for day, run in enumerate(runs)
    ]


def upgrade() -> list[RunRecord]:
    """Four days before and three after an upgrade, at which one case of two became faster."""
    before = [a_run(day, {SGD: 1e5, ADAM: 2e5}) for day in range(4)]
    return before + [a_run(day, {SGD: 1e5, ADAM: 1.6e5}, NEWER) for day in range(4, 7)]


def printed(*words: object, status: int = 0) -> str:
    done = invoke("trend", *words)
    if status:
        assert done.exit_code == status
        return done.error
    assert done.exit_code == 0, done.error
    return done.stdout


def row(text: str, name: str) -> list[str]:
    """The cells of the row that has such a cell."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (found,) = (cells for cells in lines if name in cells)
    return found


def test_a_change_is_in_its_row_with_the_run_and_the_software(tmp_path: Path) -> None:
    saved(tmp_path, upgrade())
    text = printed("--results", tmp_path)
    *_, runs, first, last, whole, at, ratio, differs = row(text, "adam")
    assert runs == "7"
    assert 195 < float(first.split()[0]) < 205
    assert 156 < float(last.split()[0]) < 164
    assert 0.78 < float(whole.split()[0]) < 0.82
    assert at == "2027-01-19 08:00, abcdef0123"
    assert re.fullmatch(r"0\.(79|80)\d ± 1\.\d%", ratio)
    assert differs == "torch 2.13.0 -> 2.14.0, commit"
    assert row(text, "sgd")[-3:] == ["-", "-", "-"]
    assert (
        "From 20270118T080000Z-0123456789 to 20270119T080000Z-abcdef0123 changed "
        f"{ADAM.id}; differs: commit 0123456789 -> abcdef0123, torch 2.13.0 -> 2.14.0."
    ) in text
    assert "7 runs, 2027-01-15 08:00 to 2027-01-21 08:00 UTC" in text


def test_each_further_change_has_a_line_below_its_row(tmp_path: Path) -> None:
    days = [1e5] * 3 + [1.3e5] * 3 + [0.9e5] * 3
    saved(tmp_path, [a_run(day, {SGD: time, ADAM: 2e5}) for day, time in enumerate(days)])
    lines = printed("--results", tmp_path).splitlines()
    (place,) = (n for n, line in enumerate(lines) if "| sgd" in line)
    assert "2027-01-18 08:00" in lines[place]
    assert re.match(r"\|[ |]+2027-01-21 08:00", lines[place + 1])
    assert "nothing known" in lines[place + 1]


def test_runs_come_in_the_order_they_were_measured_in(tmp_path: Path) -> None:
    files = saved(tmp_path, list(reversed(upgrade())))
    text = printed(*files)
    assert "2027-01-19 08:00, abcdef0123" in text
    assert "2027-01-15 08:00 to 2027-01-21" in text


def test_a_machines_own_folder_may_be_named(tmp_path: Path) -> None:
    saved(tmp_path, upgrade())
    saved(tmp_path, [a_run(0, {SGD: 1e5}, OTHER)])
    text = printed("--results", tmp_path / OURS)
    assert OURS in text and OTHER.name not in text


def test_several_machines_are_refused_with_what_to_name(tmp_path: Path) -> None:
    saved(tmp_path, upgrade())
    saved(tmp_path, [a_run(0, {SGD: 1e5}, OTHER)])
    message = printed("--results", tmp_path, status=2)
    assert OURS in message and OTHER.name in message
    assert f"name files, or one of them as --results {tmp_path / OTHER.name}" in message


def test_this_machine_comes_before_others(tmp_path: Path) -> None:
    saved(tmp_path, upgrade())
    saved(tmp_path, [a_run(0, {SGD: 1e5}, OTHER)])
    mine = fingerprint()
    synthetic.run_file(
        tmp_path / mine.label / "20270101T080000Z-a.json", synthetic.run({SGD: 1e5}, on=mine)
    )
    text = printed("--results", tmp_path)
    assert mine.label in text and OURS not in text


def test_mixed_files_are_refused_with_whose_each_is(tmp_path: Path) -> None:
    ours = saved(tmp_path, upgrade()[:1])
    theirs = saved(tmp_path, [a_run(0, {SGD: 1e5}, OTHER)])
    message = printed(*ours, *theirs, status=2)
    assert f"{OURS}: {ours[0]}; {OTHER.name}: {theirs[0]}" in message


def test_files_of_ceilings_alone_are_passed_over(tmp_path: Path) -> None:
    above = synthetic.run({}, ceilings=dict.fromkeys(ceilings("cpu", 1, ["float32"]), 1e4))
    alone = synthetic.run_file(tmp_path / OURS / "ceilings-20270101T080000Z-a.json", above)
    files = saved(tmp_path, upgrade())
    assert "ceilings" not in printed("--results", tmp_path)
    assert printed(*files, alone) == printed(*files)
    assert "holds ceilings alone" in printed(alone, status=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--phase", "sideways"], "--phase: no case here is timed by sideways"),
        (["--phase", "latency"], "--phase: no case here is timed by latency"),
        (["--statistic", "mean"], "--statistic: 'mean' is not one"),
        (["--format", "pdf"], "--format: 'pdf' is not one"),
        (["--chart", "history.gif"], "a chart's file ends in one of .html, .png, .svg"),
        (["--chart", "nowhere/history.svg"], "there is no folder nowhere"),
        (["absent.json"], "cannot read absent.json"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    saved(tmp_path, upgrade())
    assert message in printed("--results", tmp_path, *words, status=2)


def test_no_runs_at_all_are_refused(tmp_path: Path) -> None:
    assert f"no run files under {tmp_path}" in printed("--results", tmp_path, status=2)


def test_phases_that_a_run_lacks_have_their_reason(tmp_path: Path) -> None:
    saved(tmp_path, [a_run(0, {SGD: 1e5, ADAM: 2e5}, without_phases={SGD: "unclear"})])
    text = printed("--results", tmp_path, "--phase", "forward")
    assert f"left out: no phases: unclear: {SGD.id}." in text


def test_the_console_prints_an_error_and_no_traceback(tmp_path: Path) -> None:
    cut_off = tmp_path / OURS / "20270101T080000Z-a.json"
    cut_off.parent.mkdir()
    cut_off.write_text('{"sumnet": {')
    done = subprocess.run(
        [sys.executable, "-m", "bench", "trend", "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {cut_off} is cut off")


def test_histories_that_do_not_compare_are_kept_apart(tmp_path: Path) -> None:
    runs = [
        a_run(day, {SGD: 1e5 if day % 2 else 2e5}, environment="stock" if day % 2 else "steady")
        for day in range(8)
    ]
    saved(tmp_path, runs)
    text = printed("--results", tmp_path)
    assert row(text, "stock")[-3:] == row(text, "steady")[-3:] == ["-", "-", "-"]
    assert "steady environment, reference loop 1; stock environment, reference loop 1." in text


def test_short_histories_and_lone_runs_say_so(tmp_path: Path) -> None:
    runs = [
        a_run(day, {SGD: 1.5e5 if day == 2 else 1e5} | ({ADAM: 2e5} if day > 3 else {}))
        for day in range(6)
    ]
    saved(tmp_path, runs)
    text = printed("--results", tmp_path)
    assert row(text, "adam")[-3] == "too few runs"
    assert f"Too few runs: a change point needs 4 times: {ADAM.id}." in text
    assert row(text, "sgd")[-3] == "-"
    assert f"the runs before and after it: 20270117T080000Z-0123456789: {SGD.id}." in text


def test_runs_that_never_agree_have_no_level(tmp_path: Path) -> None:
    saved(tmp_path, [a_run(day, {SGD: 1e5 * (1 + day % 2)}) for day in range(6)])
    text = printed("--results", tmp_path)
    assert "no level" in text
    assert f"No level: no two runs in a row agree within their intervals: {SGD.id}." in text


def test_missing_and_flagged_times_keep_their_reasons(tmp_path: Path) -> None:
    runs = [a_run(day, {SGD: 1e5, ADAM: 2e5}) for day in range(5)]
    runs[1] = a_run(1, {SGD: 1e5}, ended={ADAM: ("unsupported", "no such optimizer")})
    runs[3] = a_run(3, {SGD: 1e5, ADAM: 2e5}, health=[Health(HostHealth(others=3.0))] * 20)
    saved(tmp_path, runs)
    text = printed("--results", tmp_path)
    assert "4 of 5" in row(text, "adam")
    assert f"20270116T080000Z-0123456789: unsupported: no such optimizer: {ADAM.id}." in text
    assert row(text, "sgd")[-1] == "busy in 1"
    assert f"Flag busy: {SGD.id} in 20270118T080000Z-0123456789" in text
    broken = [a_run(day, {SGD: 1e5}, ended={SGD: ("oom", "it was too large")}) for day in range(2)]
    text = printed(*saved(tmp_path / "broken", broken))
    assert row(text, SGD.id)[1:5] == ["0 of 2", "oom", "oom", "-"]


def test_csv_has_every_number_of_every_run(tmp_path: Path) -> None:
    saved(tmp_path, upgrade())
    table = pd.read_csv(io.StringIO(printed("--results", tmp_path, "--format", "csv")))
    assert len(table) == 14
    adam = table[table["case"] == ADAM.id].reset_index(drop=True)
    assert list(adam["level"]) == [0] * 4 + [1] * 3
    assert (adam["low_ns"] < adam["time_ns"]).all() and (adam["time_ns"] < adam["high_ns"]).all()
    (changed,) = adam.index[adam["change"].notna()]
    there = adam.loc[changed]
    assert there["run"] == "20270119T080000Z-abcdef0123"
    assert there["changed_since"] == "20270118T080000Z-0123456789"
    assert there["change"] == pytest.approx(adam["level_ns"].iloc[-1] / adam["level_ns"].iloc[0])
    assert there["change_low"] < there["change"] < there["change_high"]
    assert there["differs"] == "commit 0123456789 -> abcdef0123, torch 2.13.0 -> 2.14.0"


@pytest.mark.parametrize("style", ["plain", "html", "latex", "tsv"])
def test_the_other_formats(tmp_path: Path, style: str) -> None:
    saved(tmp_path, upgrade())
    text = printed("--results", tmp_path, "--format", style)
    assert "2027-01-19 08:00" in text
    assert ("UTC" in text) == (style != "tsv")


def test_the_chart_shows_runs_levels_and_changes(tmp_path: Path) -> None:
    saved(tmp_path / "results", upgrade())
    chart = tmp_path / "history.svg"
    png = tmp_path / "history.png"
    printed("--results", tmp_path / "results", "--chart", chart, "--chart", png)
    svg = ElementTree.parse(chart).getroot()
    texts = texts_of(svg)
    assert {"sgd b2", "adam b1024", "01-19 08:00", "faster"} <= set(texts)
    assert [text for text in texts if re.fullmatch(r"01-19 08:00: 0\.(79|80)\d ± 1\.\d%", text)]
    assert len(marks(svg)) == 14
    assert png.read_bytes().startswith(b"\x89PNG")


def test_each_history_has_its_part_of_the_chart(tmp_path: Path) -> None:
    runs = [
        a_run(day, {SGD: 1e5, ADAM: 2e5}, environment="stock" if day % 2 else "steady")
        for day in range(6)
    ]
    saved(tmp_path, runs)
    printed("--results", tmp_path, "--chart", tmp_path / "history.svg")
    svg = ElementTree.parse(tmp_path / "history.svg").getroot()
    assert {"steady environment, reference loop 1", "stock environment, reference loop 1"} < set(
        texts_of(svg)
    )
    assert len(marks(svg)) == 12


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, upgrade()[:1])
    message = printed("--results", tmp_path, "--chart", tmp_path / "history.svg", status=2)
    assert "nothing to draw: no case has times in two runs" in message


def test_of_many_cases_those_that_change_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trend_chart, "PANELS", 2)
    many = [sumnet(hidden=hidden) for hidden in range(1, 5)]
    last = many[-1]
    runs = [
        a_run(day, {case: 1e5 if case != last or day < 2 else 2e5 for case in many})
        for day in range(4)
    ]
    saved(tmp_path, runs)
    printed("--results", tmp_path, "--chart", tmp_path / "history.svg")
    text = (tmp_path / "history.svg").read_text()
    assert ">sgd h1<" in text and ">sgd h4<" in text and ">sgd h2<" not in text
    assert "Not drawn: 2 without a change; see the table." in text


@pytest.mark.slow
@in_browser
def test_the_page_draws_itself_without_a_network(tmp_path: Path) -> None:
    saved(tmp_path / "results", upgrade())
    page = tmp_path / "history.html"
    printed("--results", tmp_path / "results", "--chart", page)
    assert re.findall(r"<(?:script|link|iframe)\b[^>]*\b(?:src|href)=", page.read_text()) == []
    dom = browsed(page, tmp_path, "--dump-dom")
    (chart,) = re.findall(r'<svg [^>]*class="marks".*?</svg>', dom, flags=re.DOTALL)
    assert len(marks(ElementTree.fromstring(chart))) == 14


def test_another_gpu_is_another_history_and_no_cause_of_a_change(tmp_path: Path) -> None:
    gpus = (GPU, OTHER_GPUS[1])
    times = {sumnet(device="cuda"): 1e5, SGD: 1e5}
    text = printed(*saved(tmp_path, [measured_on(a_run(n, times), gpus[n % 2]) for n in range(8)]))
    assert "\nFrom " not in text
    (apart,) = (line for line in text.splitlines() if "do not compare" in line)
    assert all(gpu.label in apart for gpu in gpus)
    assert ", cpu" in apart


def test_another_driver_of_one_gpu_is_named_between_the_runs(tmp_path: Path) -> None:
    times = {sumnet(device="cuda"): 1e5}
    platforms = [GPU, msgspec.structs.replace(GPU, platform="CUDA 14.0")]
    runs = [measured_on(a_run(n, times), platforms[n // 4]) for n in range(8)]
    text = printed(*saved(tmp_path, runs))
    (between,) = (line for line in text.splitlines() if line.startswith("From "))
    assert "CUDA 14.0" in between and "no case changed" in between
