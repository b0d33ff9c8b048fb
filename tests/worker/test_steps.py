"""Steps from a user's file: how it is loaded, what goes wrong in it, and what is built of it."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from bench.matrix.case import Case, case_of
from bench.matrix.default_step import DEFAULT
from bench.matrix.step import PHASES, OwnAxis, StepDescription, Traits
from bench.worker.refusals import CannotBuild
from bench.worker.steps import Steps

FILE = "benchmarks/steps.py"
HEAD = """
import random
import torch
from sumnet import Axis, Step, training_step
"""
MYNET = f"""{HEAD}
@training_step(width=[3, 5])
def mynet(device, width):
    \"\"\"A small net.

    And more of it.
    \"\"\"
    model = torch.nn.Linear(width, 2).to(device)
    x = torch.randn(4, width, device=device)
    return Step(model, loss=lambda: model(x).square().mean(), samples=4, state=[random.random()])
"""


@pytest.fixture(autouse=True)
def process_as_it_was(tmp_path: Path) -> Iterator[None]:
    """Loading a file changes the import path and what is loaded."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    forget(tmp_path)


def forget(folder: Path) -> None:
    """Have the modules that lie in a folder imported anew. No others: torch's may be only once."""
    for name, module in [*sys.modules.items()]:
        held = vars(module)  # torch has modules that give any attribute they are asked for
        places = [held.get("__file__"), *held.get("__path__", ())]
        if any(str(place).startswith(str(folder)) for place in places):
            del sys.modules[name]


def project(
    folder: Path, steps: str = MYNET, files: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """A repository with a steps file, and other files by their path."""
    for name, text in {FILE: steps, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def mynet(**values: Any) -> Case:
    return case_of(StepDescription("mynet", (OwnAxis("width", (3, 5), short="width"),)), values)


def reason(steps: Steps, case: Case) -> str:
    with pytest.raises(CannotBuild) as refused:
        steps.build(case)
    return str(refused.value)


# What is built


def test_a_step_is_built_at_the_values_of_its_case(tmp_path: Path) -> None:
    steps = Steps(project(tmp_path), FILE)
    for width in (3, 5, 64):
        model = steps.build(mynet(width=width)).model
        assert isinstance(model, torch.nn.Linear)
        assert model.in_features == width


def test_a_step_is_built_from_one_seed_whatever_was_drawn_before(tmp_path: Path) -> None:
    steps = Steps(project(tmp_path), FILE)
    built = []
    for _ in range(2):
        torch.rand(3)
        built.append(steps.build(mynet()))
    one, other = built
    assert one.state == other.state, "of Python's own generator"
    for ours, theirs in zip(
        [*getattr(one.model, "parameters")(), one.loss()],  # type: ignore[misc] # noqa: B009
        [*getattr(other.model, "parameters")(), other.loss()],  # type: ignore[misc] # noqa: B009
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "amp-bfloat16"])
def test_a_function_that_takes_a_dtype_builds_in_that_of_the_case(
    tmp_path: Path, dtype: str
) -> None:
    text = f"""{HEAD}
@training_step()
def typed(device, dtype):
    return Step(run=lambda: None, state=[dtype])
"""
    steps = Steps(project(tmp_path, text), FILE)
    case = case_of(StepDescription("typed"), {"dtype": dtype})
    stored = "float32" if dtype.startswith("amp") else dtype
    assert steps.build(case).state == (getattr(torch, stored),)
    assert steps.build(case, torch.float64).state == (torch.float64,), "another that is asked for"


def test_a_step_is_described_by_what_building_it_shows(tmp_path: Path) -> None:
    text = f"""{MYNET}
@training_step(batch=Axis([2], "rows", "b", 9))
def own(device, dtype, batch):
    model = torch.nn.EmbeddingBag(7, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    return Step(model, loss=lambda: model(torch.zeros(1, 1)).sum(), optimizer=optimizer)

@training_step()
def gan(device):
    return Step(phases={{"load": lambda: 1, "update": lambda one: None}})

@training_step()
def whole(device):
    return Step(run=lambda: None)

@training_step()
def broken(device):
    raise ValueError("no weights here")
"""
    described = {step.name: step for step in Steps(project(tmp_path, text), FILE).describe("cpu")}
    assert list(described) == ["mynet", "own", "gan", "whole", "broken"]
    assert described["mynet"].axes == (OwnAxis("width", (3, 5), short="width"),)
    assert described["mynet"].summary == "A small net."
    assert described["mynet"].traits == Traits(takes_dtype=False, parameter_bytes=4 * (3 * 2 + 2))
    assert described["own"].traits == Traits(
        own_optimizer=True, matrices=True, sparse=True, parameter_bytes=4 * 7 * 3
    )
    assert described["gan"].traits == Traits(
        form="phases", phases=("load", "update"), takes_dtype=False
    )
    assert described["whole"].traits == Traits(form="run", phases=(), takes_dtype=False)
    errors = {name: step.error for name, step in described.items() if step.error is not None}
    assert list(errors) == ["broken"]
    assert "ValueError: no weights here" in errors["broken"]


def test_the_default_step_is_described_as_it_is_known_to_be() -> None:
    (described,) = Steps(Path(__file__).parents[2], "").describe("cpu")
    assert (described.name, described.axes) == (DEFAULT.name, DEFAULT.axes)
    assert described.traits == Traits(parameter_bytes=41 * 4)
    assert described.traits.phases == PHASES


# Where from


@pytest.mark.parametrize(
    "files",
    [
        {"benchmarks/mylib.py": "WIDTH = 3"},
        {"mylib.py": "WIDTH = 3"},
        {"src/mylib/__init__.py": "WIDTH = 3"},
        {"mylib/sizes.py": "WIDTH = 3", "mylib/__init__.py": "from .sizes import WIDTH"},
    ],
    ids=["beside it", "flat", "src", "package"],
)
def test_a_file_imports_what_its_repository_holds(tmp_path: Path, files: dict[str, str]) -> None:
    text = MYNET.replace("import random\n", "import random\nfrom mylib import WIDTH\n", 1)
    steps = Steps(project(tmp_path, text, files), FILE)
    assert steps.error is None
    steps.build(mynet())
    assert Path(sys.modules["mylib"].__file__ or "").is_relative_to(tmp_path)


def test_a_namespace_package_is_imported_too(tmp_path: Path) -> None:
    text = MYNET.replace("import random\n", "import random\nfrom spaces.sizes import WIDTH\n", 1)
    assert Steps(project(tmp_path, text, {"spaces/sizes.py": "WIDTH = 3"}), FILE).error is None


def test_a_repository_that_is_installed_comes_last_on_the_path(tmp_path: Path) -> None:
    """Its sources may lack what its build makes."""
    before = list(sys.path)
    Steps(project(tmp_path), FILE, installed=True)
    assert sys.path == [*before, str(tmp_path / "benchmarks"), str(tmp_path)]


def test_what_a_repository_has_under_the_suites_names_is_its_own_and_shadows_nothing(
    tmp_path: Path,
) -> None:
    """The words of the steps file come from the suite; all else that it imports is the user's."""
    ours = sys.modules["bench.worker.steps"], sys.modules["sumnet.steps"]
    folder = project(
        tmp_path,
        files={
            "sumnet/__init__.py": "raise ImportError('the wrong sumnet')",
            "bench/__init__.py": "raise ImportError('the wrong bench')",
            "tests/__init__.py": "",
        },
    )
    steps = Steps(folder, FILE)
    assert steps.error is None
    assert steps.build(mynet()).samples == 4
    assert (sys.modules["bench.worker.steps"], sys.modules["sumnet.steps"]) == ours


# What goes wrong


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", ("SyntaxError",)),
        ("import a_module_that_is_missing\n", ("a_module_that_is_missing",)),
        ("import sys\nsys.exit(3)\n", ("SystemExit", "3")),
        ("1 / 0\n", ("ZeroDivisionError",)),
        (f"{HEAD}\ndef mynet(device): ...\n", ("no step", "@training_step()")),
        ("", ("no step", "@training_step()")),
        (f"{HEAD}\n@training_step(device=[1])\ndef mynet(): ...\n", ("TypeError", "device")),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why_when_a_step_is_asked_for(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    steps = Steps(project(tmp_path, text), FILE)
    said = reason(steps, mynet())
    assert FILE in said
    assert [word for word in words if word not in said] == []
    with pytest.raises(CannotBuild):
        steps.describe("cpu")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert FILE in reason(Steps(tmp_path, FILE), mynet())


def test_an_interrupt_while_a_file_is_loaded_is_no_fault_of_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Steps(project(tmp_path, "raise KeyboardInterrupt\n"), FILE)


def test_a_step_that_is_not_declared_is_named(tmp_path: Path) -> None:
    steps = Steps(project(tmp_path), FILE)
    said = reason(steps, case_of(StepDescription("other"), {}))
    assert FILE in said and "other" in said


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise ValueError("no weights here")', ("mynet", "ValueError: no weights here")),
        ("return model", ("mynet", "Linear")),
        ("return Step(model)", ("mynet", "loss=")),
    ],
)
def test_a_function_that_makes_no_step_is_refused_and_named(
    tmp_path: Path, body: str, words: tuple[str, ...]
) -> None:
    text = MYNET.replace("    x = torch", f"    {body}\n    x = torch")
    said = reason(Steps(project(tmp_path, text), FILE), mynet())
    assert [word for word in words if word not in said] == []


def test_a_step_that_finds_no_memory_is_out_of_memory_and_no_other_fault(tmp_path: Path) -> None:
    text = MYNET.replace("    x = torch", "    torch.empty(2**50)\n    x = torch")
    with pytest.raises(RuntimeError, match="allocate memory"):
        Steps(project(tmp_path, text), FILE).build(mynet())


def test_a_step_may_be_imported_and_may_have_two_names(tmp_path: Path) -> None:
    other = MYNET.replace("def mynet", "def theirs")
    text = f"from other import theirs\nagain = theirs\n{MYNET}"
    steps = Steps(project(tmp_path, text, {"benchmarks/other.py": other}), FILE)
    assert [step.name for step in steps.describe("cpu")] == ["theirs", "mynet"]


def test_two_steps_of_one_name_are_refused(tmp_path: Path) -> None:
    text = f"from other import mynet as theirs\n{MYNET}"
    steps = Steps(project(tmp_path, text, {"benchmarks/other.py": MYNET}), FILE)
    assert steps.error is not None
    assert "two steps are called mynet" in steps.error


# Its hash


def test_the_hash_is_of_the_file_and_of_what_it_imports_of_its_repository(tmp_path: Path) -> None:
    text = MYNET.replace("import random\n", "import random\nimport hashed\n", 1)
    files = {"hashed.py": "WIDTH = 3", "unused.py": "WIDTH = 3"}
    hashes = {}
    for name, changed in {
        "first": {},
        "same": {},
        "imported": {"hashed.py": "WIDTH = 4"},
        "unused": {"unused.py": "WIDTH = 4"},
    }.items():
        hashes[name] = Steps(project(tmp_path / name, text, files | changed), FILE).hash
        forget(tmp_path)
    assert hashes["first"] == hashes["same"] == hashes["unused"] != hashes["imported"]
    more = project(tmp_path / "more", f"{text}\n# more", files)
    assert Steps(more, FILE).hash != hashes["first"]


def test_a_step_that_is_another_at_other_values_is_refused(tmp_path: Path) -> None:
    text = """
import torch
from sumnet import Step, training_step

@training_step(own=[False, True])
def mixed(device, own):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1) if own else None
    return Step(model, loss=lambda: model(torch.ones(1, 2)).sum(), optimizer=optimizer)
"""
    steps = Steps(project(tmp_path, text), FILE)
    (described,) = steps.describe("cpu")
    assert steps.loop(case_of(described, {})).optimizer is not None
    with pytest.raises(CannotBuild, match="own_optimizer True"):
        steps.loop(case_of(described, {"own": True}))


def test_a_step_whose_parameters_are_not_there_yet_takes_no_other_one_down(tmp_path: Path) -> None:
    text = (
        MYNET
        + """

@training_step()
def lazy(device):
    model = torch.nn.LazyLinear(2)
    return Step(model, loss=lambda: model(torch.ones(1, 2)).sum())
"""
    )
    described = {s.name: s.error for s in Steps(project(tmp_path, text), FILE).describe("cpu")}
    assert described["mynet"] is None
    assert described["lazy"] is not None
