"""What a project and a person ask of the gate: read, or refused with what is allowed."""

import re
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.gate.settings import BUDGET_S, Settings, overridden, read_settings, unmatched
from bench.gate.verdicts import threshold_of
from bench.matrix.comparison import Comparison
from bench.records.gate_report import Rules
from tests.cases import sumnet

ROOT = Path(__file__).parents[2]
WHOLE = """
[tool.sumnet-bench]
margin = "4%"
alpha = "2%"
threshold = 0.015
budget = 120

[tool.sumnet-bench.thresholds]
"cpu/float32/*" = "2%"
"cpu/float32/b2/*" = 0.03
"""


def settings_from(folder: Path, text: str) -> Settings:
    (folder / "pyproject.toml").write_text(text)
    return read_settings(folder)


def refusal(folder: Path, body: str) -> str:
    """Why a table with this body is refused; without the folder's name."""
    with pytest.raises(UsageError) as caught:
        settings_from(folder, f"[tool.sumnet-bench]\n{body}\n")
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("text", [None, "", "[tool.ruff]\nline-length = 100\n", "[tool]\n"])
def test_silent_project_gets_the_defaults(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert read_settings(tmp_path) == Settings(Rules(), BUDGET_S) == Settings()


def test_every_key_is_read(tmp_path: Path) -> None:
    thresholds = {"cpu/float32/*": 0.02, "cpu/float32/b2/*": 0.03}
    assert settings_from(tmp_path, WHOLE) == Settings(
        Rules(alpha=0.02, margin=0.04, threshold=0.015, thresholds=thresholds), 120.0
    )


def test_last_pattern_that_fits_counts_as_it_was_written(tmp_path: Path) -> None:
    rules = settings_from(tmp_path, WHOLE).rules
    assert threshold_of(Comparison(sumnet(), sumnet()).id, rules) == 0.03
    assert threshold_of(Comparison(sumnet(batch=64), sumnet(batch=64)).id, rules) == 0.02
    assert threshold_of("cpu/float64/b2", rules) == 0.015


def test_guide_shows_the_defaults_and_patterns_of_cases(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "gate.md").read_text()
    (shown,) = re.findall(r"^```toml\n(.*?)^```", guide, flags=re.DOTALL | re.MULTILINE)
    settings = settings_from(tmp_path, shown)
    thresholds = settings.rules.thresholds
    assert settings == Settings(Rules(thresholds=thresholds), BUDGET_S)
    cases = [sumnet(), sumnet(compile="on")]
    assert thresholds and unmatched(settings, [Comparison(case, case) for case in cases]) == []


@pytest.mark.parametrize(
    ("body", "reported"),
    [
        (
            'margin = "60%"',
            "pyproject.toml: [tool.sumnet-bench] margin: '60%' is not a share above 0% and up to "
            '50%, written "3%" or 0.03',
        ),
        ("margin = 0", "margin: 0 is not a share above 0%"),
        ("margin = 3", "margin: 3 is not a share"),
        ("margin = true", "margin: True is not a share"),
        ("margin = nan", "margin: nan is not a share"),
        ('margin = "-3%"', "margin: '-3%' is not a share"),
        ('margin = "3,5%"', "margin: '3,5%' is not a share"),
        ("margin = []", "margin: [] is not a share"),
        ('alpha = "0.05%"', "alpha: '0.05%' is not a share from 0.1% to 20%"),
        ("alpha = 0.3", "alpha: 0.3 is not a share from 0.1% to 20%"),
        ('threshold = "51%"', "threshold: '51%' is not a share from 0% to 50%"),
        ("budget = 9", "budget: 9 is not a number of seconds from 10 to 86400"),
        (f"budget = {10**400}", f"budget: {10**400} is not a number of seconds"),
        ("budget = inf", "budget: inf is not a number of seconds"),
        ('budget = "5 min"', "budget: '5 min' is not a number of seconds"),
        (
            'margins = "3%"',
            "margins = '3%': there is no such key; allowed: steps, margin, alpha, ",
        ),
        ('thresholds = "2%"', "thresholds: '2%' is not a table"),
        ('thresholds.cpu.float32 = "2%"', "thresholds cpu = {'float32': '2%'}"),
        ('thresholds."" = "2%"', "thresholds  = '2%'"),
        ('thresholds."cpu/*" = "2"', "thresholds \"cpu/*\": '2' is not a share from 0% to 50%"),
    ],
)
def test_what_is_not_allowed_is_reported_with_file_key_value_and_what_is(
    tmp_path: Path, body: str, reported: str
) -> None:
    text = refusal(tmp_path, body)
    assert text.startswith("pyproject.toml: [tool.sumnet-bench")
    assert reported in text


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('threshold = "5%"', "threshold is 5%, more than the margin of 3%"),
        ('margin = "0.5%"', "threshold is 1%, more than the margin of 0.5%"),
        ('thresholds."cpu/*" = "4%"', 'thresholds."cpu/*" is 4%, more than the margin of 3%'),
    ],
)
def test_threshold_above_the_margin_is_refused_with_the_reason(
    tmp_path: Path, body: str, name: str
) -> None:
    text = refusal(tmp_path, body)
    assert name in text
    assert "would be neither regressed nor equivalent" in text


@pytest.mark.parametrize("word", ["1.1%", "2.9%", "0.7 %", "7%", "0%"])
def test_equal_threshold_and_margin_go_together_however_they_are_written(
    tmp_path: Path, word: str
) -> None:
    number = float(f"{float(word.rstrip(' %')) / 100:.6g}")
    margin = max(number, 0.001)
    rules = settings_from(
        tmp_path, f'[tool.sumnet-bench]\nmargin = {margin}\nthreshold = "{word}"\n'
    ).rules
    assert rules.threshold == number


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pyproject\.toml is not TOML: .*line 2"):
        settings_from(tmp_path, "[tool.sumnet-bench]\nmargin = 3%\n")
    (tmp_path / "pyproject.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not TOML"):
        read_settings(tmp_path)
    with pytest.raises(UsageError, match=r"tool\.sumnet-bench = 3 is not a table"):
        settings_from(tmp_path, "[tool]\nsumnet-bench = 3\n")
    (tmp_path / "pyproject.toml").unlink()
    (tmp_path / "pyproject.toml").mkdir()
    with pytest.raises(UsageError, match=r"pyproject\.toml cannot be read"):
        read_settings(tmp_path)


def test_options_replace_what_the_file_asks(tmp_path: Path) -> None:
    asked = settings_from(tmp_path, WHOLE)
    assert overridden(asked, {}) == overridden(asked, {"margin": None, "wide": True}) == asked
    changed = overridden(asked, {"margin": 0.05, "alpha": 0.005, "threshold": 0.0, "budget": 60.0})
    rules = Rules(alpha=0.005, margin=0.05, threshold=0.0, thresholds=asked.rules.thresholds)
    assert changed == Settings(rules, 60.0)


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"threshold": 0.05}, "--threshold: threshold is 5%, more than the margin of 4%"),
        ({"margin": 0.01}, "--margin: threshold is 1.5%, more than the margin of 1%"),
        ({"margin": 0.025}, '--margin: thresholds."cpu/float32/b2/*" is 3%, more than'),
        ({"margin": 0.01, "threshold": 0.02}, "--margin and --threshold: threshold is 2%"),
    ],
)
def test_option_that_does_not_go_with_the_rest_is_named(
    tmp_path: Path, options: dict[str, float], reported: str
) -> None:
    with pytest.raises(UsageError) as caught:
        overridden(settings_from(tmp_path, WHOLE), options)
    assert str(caught.value).startswith(reported)


def test_pattern_that_fits_no_comparison_is_found() -> None:
    rules = Rules(thresholds={"cpu/*/b2/*": 0.01, "cpu/float23/*": 0.01, "*compile-off->on*": 0.0})
    comparisons = [Comparison(sumnet(), sumnet(compile="on"))]
    assert unmatched(Settings(rules), comparisons) == ["cpu/float23/*"]
    assert unmatched(Settings(), comparisons) == unmatched(Settings(), []) == []


def test_settings_are_those_of_the_checkout_around_the_folder(tmp_path: Path) -> None:
    checkout, below = tmp_path / "checkout", tmp_path / "checkout" / "docs" / "deep"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.sumnet-bench]\nbudget = 11\n")
    assert read_settings(below).budget_s == BUDGET_S, "no checkout: only the folder's own file"
    (checkout / ".git").mkdir()
    assert read_settings(below).budget_s == BUDGET_S, "above the checkout is somebody else's"
    (checkout / "pyproject.toml").write_text("[tool.sumnet-bench]\nbudget = 99\n")
    assert read_settings(below).budget_s == 99
