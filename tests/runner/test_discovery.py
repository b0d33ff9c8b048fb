"""Finding out, by real workers, which steps a user's file declares."""

from pathlib import Path

import pytest

from bench.errors import MachineError, UsageError
from bench.machine.checkout import root_of
from bench.matrix.default_step import Catalogue
from bench.matrix.step import OwnAxis
from bench.protocol.subject import ROOT
from bench.runner.discovery import catalogue_in, catalogue_of, side_of
from bench.runner.process import Side

HEAD = "import torch\nfrom sumnet import Step, training_step\n"
MYNET = f"""{HEAD}
print("loading")

@training_step(width=[3])
def mynet(device, width):
    model = torch.nn.Linear(width, 1)
    return Step(model, loss=lambda: model(torch.ones(1, width)).sum())
"""


def steps_file(folder: Path, text: str = MYNET) -> Path:
    path = folder / "benchmarks" / "steps.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as refused:
        catalogue_in(path, "cpu")
    return str(refused.value)


@pytest.mark.slow
def test_a_file_has_the_steps_that_it_declares_from_the_top_of_its_checkout(tmp_path: Path) -> None:
    """Whatever it prints."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "helper.py").touch()
    found = catalogue_in(steps_file(tmp_path, f"import helper\n{MYNET}"), "cpu")
    assert list(tmp_path.rglob("__pycache__")) == []
    assert (found.file, found.root) == ("benchmarks/steps.py", tmp_path.resolve())
    (step,) = found.steps
    assert (step.name, step.axes) == ("mynet", (OwnAxis("width", (3,), short="width"),))
    assert (step.traits.parameter_bytes, step.error) == (16, None)


@pytest.mark.slow
def test_one_step_that_cannot_be_built_leaves_the_others(tmp_path: Path) -> None:
    text = f"{MYNET}\n@training_step()\ndef broken(device):\n    raise ValueError('no weights')\n"
    steps = catalogue_in(steps_file(tmp_path, text), "cpu").steps
    assert [step.error is None for step in steps] == [True, False]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "steps.py") in refusal(tmp_path / "steps.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", ("SyntaxError",)),
        ("import sys\nsys.exit('not today')\n", ("not today",)),
        (HEAD, ("@training_step()",)),
        (MYNET.replace("def mynet", "def sumnet"), ("sumnet", "default step")),
        (
            MYNET.replace("    model =", "    raise ValueError('no weights')\n    model ="),
            ("mynet: ",),
        ),
    ],
    ids=["syntax", "exit", "no step", "default's name", "none builds"],
)
def test_a_file_that_gives_no_step_is_wrong_usage_and_says_why(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = steps_file(tmp_path, text)
    said = refusal(path)
    assert str(path) in said
    assert [word for word in words if word not in said] == []
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(("call", "how"), [("os._exit(5)", "status 5"), ("os.abort()", "SIGABRT")])
def test_a_file_that_ends_the_process_is_named(tmp_path: Path, call: str, how: str) -> None:
    path = steps_file(tmp_path, f"import os\n{call}\n")
    with pytest.raises(MachineError) as caught:
        catalogue_in(path, "cpu")
    assert str(path) in str(caught.value)
    assert how in str(caught.value)


# Where a file lies


def test_the_top_is_that_of_the_checkout_or_else_the_files_own_folder(tmp_path: Path) -> None:
    path = steps_file(tmp_path / "project")
    assert root_of(path) == path.parent.resolve()
    (tmp_path / "project" / ".git").write_text("gitdir: ../elsewhere\n")  # as a worktree's is
    assert root_of(path) == (tmp_path / "project").resolve()


def test_the_steps_of_an_earlier_run_are_found_here_or_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = steps_file(tmp_path)
    (tmp_path / ".git").mkdir()
    for folder in (tmp_path, path.parent):
        monkeypatch.chdir(folder)
        assert catalogue_of("benchmarks/steps.py") == Catalogue((), "benchmarks/steps.py", tmp_path)
    with pytest.raises(UsageError, match=r"benchmarks/other\.py"):
        catalogue_of("benchmarks/other.py")
    for outside in (str(tmp_path / "benchmarks/steps.py"), "../steps.py", "a/../../steps.py"):
        with pytest.raises(UsageError, match="no path inside a checkout"):
            catalogue_of(outside)
    assert catalogue_of("") == Catalogue()


def test_a_worker_runs_the_default_step_or_those_of_a_file(tmp_path: Path) -> None:
    assert side_of(Catalogue()) == Side(subject=ROOT)
    side = side_of(Catalogue((), "steps.py", tmp_path), {"NAME": "value"})
    assert (side.subject, side.steps) == (tmp_path, "steps.py")
    assert side.environment == {"NAME": "value", "PYTHONDONTWRITEBYTECODE": "1"}
