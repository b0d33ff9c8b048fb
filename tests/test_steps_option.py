"""A file of steps on the command line: found, loaded, and its axes asked for."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.runner import discovery
from tests.commands import Done, invoke

Listed = Callable[..., Done]
LOADED = functools.cache(discovery.catalogue_in)

STEPS = """
import torch
from sumnet import Axis, Step, training_step


@training_step(width=[4, 8], act=["relu", "tanh"], depth=Axis([1], short="d", most=3))
def mynet(device, width, act, depth):
    model = torch.nn.Linear(width, 1, device=device)
    x = torch.ones(2, width, device=device)
    return Step(model, loss=lambda: getattr(torch, act)(model(x)).square().mean(), samples=2)


@training_step(clip=[True, False])
def trainer(device, clip):
    return Step(run=lambda: None)
"""
T = "default/compile-off"
FIRST = f"mynet/cpu/float32/width4/sgd/{T}/act-relu/d1/t1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("project")
    (place / "steps.py").write_text(STEPS)
    (place / "broken.py").write_text("import nowhere_to_be_found\n")
    (place / "empty.py").write_text("x = 1\n")
    (place / "taken.py").write_text(STEPS.replace("def trainer", "def sumnet"))
    return place


@pytest.fixture
def listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Listed:
    """What `list` does in the folder; a file is loaded once for all tests."""
    monkeypatch.setattr(discovery, "catalogue_in", LOADED)
    monkeypatch.chdir(folder)
    return lambda *words: invoke("list", *words)


def ids(done: Done) -> list[str]:
    assert done.exit_code == 0, done.stderr
    return [line.split("  ")[0] for line in done.stdout.splitlines()]


def test_cases_are_the_declared_values_of_every_step(listed: Listed) -> None:
    assert ids(listed("steps.py")) == [
        *(
            f"mynet/cpu/float32/width{w}/sgd/{T}/act-{a}/d1/t1"
            for w in (4, 8)
            for a in ("relu", "tanh")
        ),
        *(f"trainer/cpu/float32/clip-{c}/own/{T}/t1" for c in ("true", "false")),
    ]


@pytest.mark.parametrize(
    ("words", "cases"),
    [
        (["--workload", "trainer", "--clip=false"], [f"trainer/cpu/float32/clip-false/own/{T}/t1"]),
        (["--width=16", "--workload=mynet", "--act", "tanh"],
         [f"mynet/cpu/float32/width16/sgd/{T}/act-tanh/d1/t1"]),
        (["--workload", "mynet", "--width", "16,32", "--act=relu", "--depth=3"],
         [f"mynet/cpu/float32/width{w}/sgd/{T}/act-relu/d3/t1" for w in (16, 32)]),
        ([FIRST], [FIRST]),
        (["--threads=2", "--workload=trainer", "--clip", "true"],
         [f"trainer/cpu/float32/clip-true/own/{T}/t2"]),
    ],
)  # fmt: skip
def test_axes_of_a_steps_own_are_options(
    listed: Listed, words: list[str], cases: list[str]
) -> None:
    assert ids(listed("steps.py", *words)) == cases
    assert ids(listed(*words, "steps.py")) == cases


def test_axis_that_one_step_lacks_narrows_the_others(listed: Listed) -> None:
    found = ids(listed("steps.py", "--width=64", "--act=relu"))
    assert [case.split("/")[3] for case in found] == ["width64", "clip-true", "clip-false"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--widht=16"], "no such option: --widht"),
        (["--widht", "16"], "no such option: --widht"),
        (["--width"], "its value is missing: --width VALUE"),
        (["--width", "--act=relu"], "--width"),
        (["--width=wide"], "--width: 'wide' is not a value; allowed: a whole number"),
        (["--act=gelu"], "--act: 'gelu' is not a value; allowed: relu, tanh"),
        (["--depth=4"], "--depth: '4' is not a value; allowed: a whole number from 1 to 3"),
        (["--clip=maybe"], "--clip: 'maybe' is not a value; allowed: true, false"),
        (["--workload=other"], "--workload: there is no 'other'; there is mynet, trainer"),
        (["--batch=2"], "no such option: --batch"),
        ([FIRST, "--width=16"], "a case id fixes every axis: drop --width"),
        ([FIRST, "--threads=2"], "a case id fixes every axis: drop --threads"),
        ([FIRST.replace("mynet", "other")], "there is no step 'other'; the file of steps"),
        ([FIRST.replace("act-relu", "act-gelu")], "'gelu' is not a value"),
        ([FIRST.replace("width4", "w4")], "'w4' should start with 'width'"),
        (["broken.py"], "steps.py and broken.py: name one file of steps"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_no_step_has_is_wrong_usage(listed: Listed, words: list[str], complaint: str) -> None:
    done = listed("steps.py", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.error and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("gone.py", "there is no file gone.py"),
        ("broken.py", "broken.py cannot be loaded: ModuleNotFoundError: No module named 'nowhere"),
        ("empty.py", "empty.py declares no step"),
        ("taken.py", "sumnet is the name of the default step"),
    ],
)
def test_file_that_gives_no_steps_is_refused_by_name(
    listed: Listed, file: str, complaint: str
) -> None:
    done = listed(file)
    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in done.error and "Traceback" not in done.stderr


def test_projects_own_file_needs_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.sumnet-bench]\nsteps = "in/steps.py"\n')
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "steps.py").write_text(STEPS)
    monkeypatch.chdir(tmp_path)
    assert ids(invoke("list", "--width=4", "--act=relu", "--workload=mynet")) == [FIRST]


def test_axes_of_the_default_step_stay_its_options(tmp_path: Path) -> None:
    words = ("list", "--preset=seed", "--batch=4", "--hidden", "16", "--results", tmp_path)
    assert ids(invoke(*words)) == [f"cpu/float32/b4/sgd/{T}/h16/t1"]
    done = invoke("list", "--width=4")
    assert done.exit_code == 2 and "no such option: --width" in done.error
