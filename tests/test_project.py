"""What a project's pyproject.toml says of its steps."""

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.project import configured_steps, project_settings


def project(folder: Path, body: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.sumnet-bench]\n{body}\n")
    return folder


@pytest.mark.parametrize("body", ["", 'margin = "4%"'])
def test_project_that_names_no_steps_has_none(tmp_path: Path, body: str) -> None:
    assert configured_steps(project(tmp_path, body)) is None


def test_no_project_has_no_steps(tmp_path: Path) -> None:
    assert configured_steps(tmp_path) is None


def test_steps_are_found_from_the_file_that_names_them(tmp_path: Path) -> None:
    project(tmp_path, 'steps = "benchmarks/steps.py"')
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "src" / "pkg"
    inner.mkdir(parents=True)
    assert configured_steps(tmp_path) == tmp_path / "benchmarks" / "steps.py"
    assert configured_steps(inner) == tmp_path / "benchmarks" / "steps.py"


def test_nearest_file_counts_and_none_above_the_checkout(tmp_path: Path) -> None:
    project(tmp_path, 'steps = "outer.py"')
    checkout = tmp_path / "checkout"
    (checkout / ".git").mkdir(parents=True)
    assert configured_steps(checkout) is None
    inner = project(checkout / "part", 'steps = "inner.py"')
    assert configured_steps(inner) == inner / "inner.py"


@pytest.mark.parametrize("value", ['["a.py", "b.py"]', "3", "true", '""', '{file = "a.py"}'])
def test_what_is_no_path_is_refused_with_file_key_and_value(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match=r"pyproject\.toml: \[tool\.sumnet-bench\] steps: .* path"):
        project_settings(project(tmp_path, f"steps = {value}"))


def test_misspelt_key_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"step = 'a\.py': there is no such key; allowed: steps, "):
        project_settings(project(tmp_path, 'step = "a.py"'))


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 100_000], ids=["digits", "nesting"])
def test_numbers_without_end_and_deep_nesting_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        configured_steps(project(tmp_path, f"alpha = {value}"))
