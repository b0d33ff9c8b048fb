"""Charts of limits: what they draw, and that each kind of file shows it with no network."""

import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bench.errors import MachineError, UsageError
from bench.matrix.case import WHOLE, Case
from bench.report.charts import SAVED, check_chart, save_chart
from bench.roofline.chart import BOUNDS, roofline
from tests.cases import sumnet
from tests.commands import invoke
from tests.suite.driving import ROOT

ROOFS = (
    ("bandwidth", "64 KiB", 9e10),
    ("bandwidth", "256 MiB", 9e9),
    ("compute", "float32", 6e10),
    ("compute", "bfloat16", 5.5e10),
    ("compute", "float64", 3e9),
)
CASES = [
    *(
        sumnet(batch=batch, optimizer=name)
        for batch in (2, 1024, 262144)
        for name in ("sgd", "adam")
    ),
    sumnet(optimizer="adam", implementation="fused"),
    sumnet(batch=1024, dtype="float64", optimizer="adam"),
    sumnet(batch=16384, hidden=4096),
]
CHROMIUM = shutil.which("chromium")


def limits(cases: Sequence[Case] = CASES, run: str = "ours", **others: Any) -> pd.DataFrame:
    """Steps at twice their limit, which a plausible machine sets; `others` replace columns."""
    rows = []
    for case in cases:
        flops, traffic = (
            28.0 * case.own_values["hidden"] * case.own_values["batch"],
            56.0 * case.own_values["hidden"] * case.own_values["batch"],
        )
        terms = {
            "overhead": 60e3 if case.optimizer == "sgd" else 110e3,
            "bandwidth": traffic / 9e9 * 1e9,
            "compute": flops / (6e10 if case.own_values["hidden"] < 4096 else 3e9) * 1e9,
        }
        bound = max(terms, key=lambda name: terms[name])
        times = {f"{name}_ns": time for name, time in terms.items()}
        rows += [
            {
                "run": run,
                "case": case.id,
                **case.axes,
                "series": series,
                "samples": float(case.own_values["batch"]),
                "measured_ns": 2 * terms[bound],
                **times,
                "limit_ns": terms[bound],
                "bound": bound,
                "headroom": 2.0,
                "fused_ns": terms[bound] / 2,
                "fused_headroom": 4.0,
                "flops": flops,
                "bytes": traffic,
                "reason": None,
            }
            for series in ("forward", WHOLE)
        ]
    return pd.DataFrame(rows).assign(**others)


def unlimited(cases: Sequence[Case], **others: Any) -> pd.DataFrame:
    unknown = {"limit_ns": np.nan, "headroom": np.nan, "bound": None, "reason": "not profiled"}
    return limits(cases, **unknown, **others)


def roofs(limits: pd.DataFrame, known: Sequence[tuple[str, str, float]] = ROOFS) -> pd.DataFrame:
    """The same roofs wherever a case ran."""
    places = limits[["run", "device", "threads"]].drop_duplicates()
    return places.merge(pd.DataFrame(known, columns=["kind", "name", "value"]), how="cross")


def svg_of(limits: pd.DataFrame, folder: Path, of_roofs: pd.DataFrame | None = None) -> Any:
    path = folder / "chart.svg"
    save_chart(roofline(limits, roofs(limits) if of_roofs is None else of_roofs), path)
    return ElementTree.parse(path).getroot()


def texts_of(svg: Any) -> list[str]:
    """Every line of text."""
    return [text for element in svg.iter() if (text := (element.text or "").strip())]


def marks(svg: Any) -> list[Any]:
    """What stands for a case, in either panel; not the legend."""
    groups = (g for g in svg.iter() if "mark-symbol role-mark" in g.get("class", ""))
    return [mark for group in groups for mark in group]


def browsed(path: Path, folder: Path, *options: str) -> str:
    """What chromium, kept from every network, makes of a page, once it has come to rest."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,800",
        "--virtual-time-budget=10000",
        *options,
        path.as_uri(),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout


in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")


def test_every_case_with_a_limit_is_drawn_in_both_panels(tmp_path: Path) -> None:
    drawn = marks(svg_of(limits(), tmp_path))
    assert len(drawn) == 2 * len(CASES)


def test_bounds_differ_in_shape_and_lightness_not_in_colour_alone(tmp_path: Path) -> None:
    drawn = marks(svg_of(limits(), tmp_path))
    bounds = limits().query("series == @WHOLE")["bound"].value_counts()
    assert set(bounds.index) == set(BOUNDS)
    colours = Counter(mark.get("fill") for mark in drawn)
    assert colours == {BOUNDS[name][0]: 2 * count for name, count in bounds.items()}
    # Of the headroom panel, where all marks have one size.
    shapes = {mark.get("fill"): mark.get("d") for mark in drawn[len(CASES) :]}
    assert len(set(shapes.values())) == len(BOUNDS)
    light = sorted(
        np.dot([0.299, 0.587, 0.114], list(bytes.fromhex(colour[1:])))
        for colour, _ in BOUNDS.values()
    )
    assert min(np.diff(light)) > 60


def test_cases_without_a_limit_or_a_time_are_counted_and_not_drawn(tmp_path: Path) -> None:
    everything = pd.concat(
        [
            limits(CASES[:3]),
            unlimited(CASES[3:5]),
            limits(CASES[5:6], measured_ns=np.nan, headroom=np.nan),
        ]
    )
    svg = svg_of(everything, tmp_path)
    assert len(marks(svg)) == 2 * 3
    assert "Not drawn: 2 without a limit, 1 without a time; see the table." in texts_of(svg)


def test_nothing_is_counted_where_every_case_has_a_limit(tmp_path: Path) -> None:
    assert not [line for line in texts_of(svg_of(limits(), tmp_path)) if "Not drawn" in line]


def test_chart_of_nothing_is_refused_with_the_reasons() -> None:
    nothing = unlimited(CASES)
    with pytest.raises(UsageError, match=r"a time and a limit; not profiled$"):
        roofline(nothing, roofs(nothing))


def test_roofs_are_named_and_close_ones_share_a_name(tmp_path: Path) -> None:
    words = texts_of(svg_of(limits(), tmp_path))
    assert {
        "bandwidth at 64 KiB",
        "bandwidth at 256 MiB",
        "matmul float32, bfloat16",
        "matmul float64",
    } < set(words)


def test_lines_are_named_by_what_sets_them_apart(tmp_path: Path) -> None:
    words = texts_of(svg_of(limits(), tmp_path))
    named = {"sgd", "adam", "adam fused", "adam float64", "sgd h4096"}
    assert named < set(words)
    assert all(words.count(name) == 1 for name in named)


def test_each_run_device_and_number_of_threads_has_panels_of_its_own(tmp_path: Path) -> None:
    threads = [
        sumnet(batch=1024),
        sumnet(batch=1024, threads=2),
        sumnet(device="cuda"),
    ]
    everything = pd.concat([limits(threads), limits(threads[:1], run="theirs")])
    words = texts_of(svg_of(everything, tmp_path))
    places = [word for word in words if re.fullmatch(r"\w+: \w+, \d threads?", word)]
    assert list(dict.fromkeys(places)) == [
        "ours: cpu, 1 thread",
        "ours: cpu, 2 threads",
        "ours: cuda, 1 thread",
        "theirs: cpu, 1 thread",
    ]
    assert words.count("Roofline") == words.count("Headroom") == len(set(places))


def test_html_asks_the_network_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    save_chart(roofline(limits(), roofs(limits())), path)
    page = path.read_text()
    assert re.findall(r"<(?:script|link|iframe)\b[^>]*\b(?:src|href)=", page) == []
    assert "cdn" not in page.lower()
    assert not re.search(r"\bimport\s*(?:\(|[\w{*][^;\n]*from)\s*[\"']https?:", page)


def test_text_of_a_run_file_stays_text_in_html(tmp_path: Path) -> None:
    hostile, path = "</script><script>bad()</script>", tmp_path / "chart.html"
    pages = []
    for name in ("ours", hostile):
        everything = pd.concat([limits(), limits(run=name)])
        save_chart(roofline(everything, roofs(everything)), path)
        pages.append(path.read_text())
    assert pages[0].count("<script") == pages[1].count("<script")
    assert hostile not in pages[1] and "bad()" in pages[1]


@pytest.mark.slow
@in_browser
def test_html_draws_itself_in_a_browser_without_network(tmp_path: Path) -> None:
    path = tmp_path / "chart.html"
    save_chart(roofline(limits(), roofs(limits())), path)
    dom = browsed(path, tmp_path, "--dump-dom")
    (chart,) = re.findall(r'<svg [^>]*class="marks".*?</svg>', dom, flags=re.DOTALL)
    svg = ElementTree.fromstring(chart)
    assert len(marks(svg)) == 2 * len(CASES)
    assert {"Roofline", "Headroom", "adam fused", "matmul float64"} < set(texts_of(svg))
    (menu,) = re.findall(r'<div class="vega-actions">.*?</div>', dom, flags=re.DOTALL)
    assert "Save as PNG" in menu and "Editor" not in menu


@pytest.mark.slow
@in_browser
def test_html_fits_a_window_and_is_not_blank(tmp_path: Path) -> None:
    path, screenshot = tmp_path / "chart.html", tmp_path / "screenshot.png"
    save_chart(roofline(limits(), roofs(limits())), path)
    browsed(path, tmp_path, f"--screenshot={screenshot}")
    assert png_size(screenshot) == (1400, 800)
    assert screenshot.stat().st_size > 20_000  # a blank page takes less than 10 kB


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


def test_png_has_two_pixels_for_each_of_the_svg(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    save_chart(roofline(limits(), roofs(limits())), path)
    svg = svg_of(limits(), tmp_path)
    size = [float(svg.get(name)) for name in ("width", "height")]
    assert np.allclose(png_size(path), [2 * length for length in size], atol=2)
    assert 1000 < size[0] < 1400 and 500 < size[1] < 700


@pytest.mark.parametrize("name", ["chart.pdf", "chart", "chart.PNG"])
def test_other_suffix_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UsageError, match=re.escape(".html, .png, .svg")) as refused:
        check_chart(path)
    assert str(path) in str(refused.value)
    assert not path.exists()


@pytest.mark.parametrize("suffix", SAVED)
def test_folder_that_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "missing" / f"chart{suffix}"
    with pytest.raises(UsageError, match=f"there is no folder {path.parent}: make it"):
        check_chart(path)


@pytest.mark.parametrize("suffix", SAVED)
def test_file_that_cannot_be_written_is_the_machines_fault(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"chart{suffix}"
    path.mkdir()
    with pytest.raises(MachineError, match=f"cannot write {path}: Is a directory"):
        save_chart(roofline(limits(), roofs(limits())), path)


@pytest.mark.parametrize("module", ["altair", "vl_convert"])
@pytest.mark.parametrize("words", ["trend --chart", "compare --limits --roofline"])
def test_without_the_extra_a_chart_is_refused_before_any_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    done = invoke(*words.split(), tmp_path / "chart.svg", tmp_path / "missing.json")
    assert done.exit_code == 2
    assert done.error.endswith("pip install 'sumnet-bench[report]'")


def test_altair_is_imported_only_to_draw() -> None:
    code = "import sys, bench.roofline.chart; sys.exit('altair' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
