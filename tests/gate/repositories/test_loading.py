"""What the workers of both sides import, of layouts that repositories have."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.gate.discovery import steps_of
from bench.runner.discovery import steps_on
from bench.runner.process import Side
from tests.gate.repositories.making import LIBRARY, STEPS, commit, runs, sides, write
from tests.gate.repositories.test_build import BUILD_EXTENSION, EXTENSION, INSTALL
from tests.gate.sides.making import git

WITHOUT_BIAS = """\
import torch


class Net(torch.nn.Linear):
    def __init__(self, width, out):
        super().__init__(width, out, bias=False)
"""
BYTES = {LIBRARY: 4 * 72, WITHOUT_BIAS: 4 * 64}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "layout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    return folder


def parameters(side: Side) -> int:
    """Bytes of the parameters of the side's step."""
    (step,) = steps_on(side, "cpu", "steps")
    assert step.error is None, step.error
    return step.traits.parameter_bytes


def held(*both: Side) -> list[int]:
    return [parameters(side) for side in both]


LAYOUTS = {
    "flat": ("mylib/__init__.py", "mylib/net.py", "benchmarks/steps.py"),
    "src": ("src/mylib/__init__.py", "src/mylib/net.py", "benchmarks/steps.py"),
    "namespace package": ("README", "mylib/net.py", "benchmarks/steps.py"),
    "one of several projects": ("README", "a/src/mylib/net.py", "a/benchmarks/steps.py"),
    "steps at the top": ("mylib/__init__.py", "mylib/net.py", "steps.py"),
    "steps in the package": ("mylib/__init__.py", "mylib/net.py", "mylib/bench/steps.py"),
    "packages of the suite's names": ("bench/__init__.py", "mylib/net.py", "benchmarks/steps.py"),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_side_imports_its_own(empty: Path, layout: str) -> None:
    first, library, steps = LAYOUTS[layout]
    commit(empty, {first: "", library: LIBRARY, steps: STEPS})
    commit(empty, {library: WITHOUT_BIAS})
    with sides(empty, steps=steps, base="HEAD~1") as both:
        assert held(*both) == [BYTES[LIBRARY], BYTES[WITHOUT_BIAS]]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["python setup.py -q build_ext --inplace", INSTALL])
def test_extensions_that_a_build_makes_are_imported(top: Path, command: str) -> None:
    net = "from mylib._c import number\n" + LIBRARY.replace(
        "    pass", "    def __init__(self, *_):\n        super().__init__(1, number(), bias=False)"
    )
    steps = STEPS.replace("batch, 8,", "batch, 1,")
    commit(top, {"setup.py": BUILD_EXTENSION, "mylib/net.py": net, "benchmarks/steps.py": steps})
    for number in (1, 2):
        commit(top, {"mylib/_c.c": EXTENSION.format(number)})
    with sides(top, base="HEAD~1", build=command) as both:
        assert held(*both) == [4, 8]


# Code that is not the side's own

NAMED = {
    "pyproject.toml": '[project]\nname = "my.lib"\n',
    "setup.cfg": "[metadata]\nname = My-Lib\n",
    "setup.py": 'from setuptools import setup\nsetup(name="My.lib")\n',
}


@pytest.fixture
def odd(empty: Path) -> Path:
    """A package in a folder that is not on the import path of a side."""
    commit(empty, {"python/mylib/net.py": LIBRARY, "benchmarks/steps.py": STEPS})
    commit(empty, {"python/mylib/net.py": WITHOUT_BIAS})
    return empty


def test_code_that_the_checkout_itself_gives_is_refused(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(odd / "python"))  # as an editable installation does
    with (
        sides(odd, base="HEAD~1") as (base, head),
        pytest.raises(UsageError) as caught,
    ):
        steps_of(base, head, "cpu", 120, print)
    assert f"mylib.net is imported from {odd}/python/mylib/net.py" in str(caught.value)
    assert '--build "pip install ."' in str(caught.value)


@pytest.mark.slow
def test_code_that_was_installed_from_the_checkout_is_refused(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = """\
from setuptools import setup
setup(name="mylib", packages=["mylib"], package_dir={"": "python"})
"""
    commit(odd, {"setup.py": setup})
    target = tmp_path / "installed"
    words = ["-q", "--no-build-isolation", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *words, str(odd)], check=True)
    git(odd, "clean", "-qfdx")
    monkeypatch.setenv("PYTHONPATH", str(target))
    with sides(odd, base="HEAD~1") as both, pytest.raises(UsageError) as caught:
        steps_of(*both, "cpu", 120, print)
    assert f"mylib.net is imported from {target}/mylib/net.py" in str(caught.value)


@pytest.mark.parametrize("named_in", ["pyproject.toml", "setup.cfg", "setup.py"])
def test_code_of_an_installed_release_is_refused(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_in: str
) -> None:
    commit(odd, {named_in: NAMED[named_in]})
    packages = tmp_path / "site-packages"
    shutil.copytree(odd / "python", packages)
    files = {"METADATA": "Name: my_lib\nVersion: 1\n", "RECORD": "mylib/net.py,,\n"}
    write(packages, {f"my_lib-1.dist-info/{name}": text for name, text in files.items()})
    monkeypatch.setenv("PYTHONPATH", str(packages))
    with sides(odd, base="HEAD~2") as both, pytest.raises(UsageError) as caught:
        steps_of(both[1], both[1], "cpu", 120, print)
    assert f"mylib.net is imported from {packages}/mylib/net.py" in str(caught.value)


@pytest.mark.slow
def test_an_editable_installation_of_the_checkout_does_no_harm(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As setuptools makes it, by a module that finds the project's."""
    commit(
        top, {"setup.py": 'from setuptools import setup\nsetup(name="my", packages=["mylib"])\n'}
    )
    commit(top, {"mylib/net.py": WITHOUT_BIAS})
    words = ["-q", "--no-build-isolation", "--no-deps", "--no-index", "--target"]
    target = tmp_path / "installed"
    subprocess.run([sys.executable, "-m", "pip", "install", *words, target, "-e", top], check=True)
    git(top, "clean", "-qfdx")
    (finder,) = target.glob("__editable__*finder.py")
    (target / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(target)!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(target))
    with sides(top, base="HEAD~1") as both:
        assert runs(both[0], f"import sys; print({finder.stem!r} in sys.modules)") == "True"
        assert held(*both) == [BYTES[LIBRARY], BYTES[WITHOUT_BIAS]]


@pytest.mark.parametrize(
    "line", ["from mylib._version import x", "import mylib._version", "from mylib import _version"]
)
def test_modules_that_git_ignores_are_named(top: Path, line: str) -> None:
    commit(top, {".gitignore": "_version.py\n", "mylib/net.py": f"{line}\n{LIBRARY}"})
    (top / "mylib" / "_version.py").write_text("x = 1\n")
    with sides(top, base="HEAD~1") as both, pytest.raises(UsageError) as caught:
        steps_of(both[1], both[1], "cpu", 120, print)
    assert "git ignores mylib/_version.py" in str(caught.value)
    assert "--build" in str(caught.value)


# Steps that one side cannot build

TWO = (
    STEPS
    + """

@training_step(batch=[4])
def other(device, batch):
    from mylib.new import New
    model = New(8, 8).to(device)
    x = torch.randn(batch, 8, device=device)
    return Step(model, loss=lambda: model(x).sum(), samples=batch)
"""
)
NEW = LIBRARY.replace("Net", "New")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "head", "names"),
    [
        ({"mylib/new.py": NEW}, {"mylib/new.py": NEW + "# changed\n"}, ["tiny", "other"]),
        ({}, {"mylib/new.py": NEW}, ["tiny", "other"]),
        ({"mylib/new.py": NEW}, {"mylib/new.py": ""}, ["tiny", "other"]),
        ({"mylib/new.py": ""}, {"mylib/new.py": "1\n"}, ["tiny"]),
        ({}, {"mylib/net.py": ""}, ["tiny"]),
    ],
)
def test_steps_are_those_that_a_side_can_build(
    top: Path, base: dict[str, str], head: dict[str, str], names: list[str]
) -> None:
    commit(top, {"benchmarks/steps.py": TWO, **base})
    commit(top, head)
    said: list[str] = []
    with sides(top, base="HEAD~1") as both:
        steps, nowhere = steps_of(*both, "cpu", 120, said.append)
    assert [step.name for step in steps] == names
    assert all(step.traits.parameter_bytes == BYTES[LIBRARY] for step in steps)
    broken = {**base, **head}.get("mylib/new.py") in ("", "1\n") or "mylib/net.py" in head
    assert len(said) == broken
    assert [line.split()[0] for line in nowhere] == ["other"] * ("other" not in names)
