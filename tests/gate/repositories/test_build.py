"""Builds of both sides, each in an environment of its own."""

import sys
from pathlib import Path

import pytest

from tests.gate.repositories.making import commit, files, refusal, runs, sides, write
from tests.gate.sides.making import git

SETUP = """\
from setuptools import setup
setup(name="mylib", version="{}", packages=["mylib"], package_dir={{"": "src"}})
"""
EXTENSION = """\
#include <Python.h>
static PyObject *number(PyObject *self, PyObject *none) {{ return PyLong_FromLong({}); }}
static PyMethodDef methods[] = {{{{"number", number, METH_NOARGS, ""}}, {{0}}}};
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "_c", "", -1, methods}};
PyMODINIT_FUNC PyInit__c(void) {{ return PyModule_Create(&module); }}
"""
BUILD_EXTENSION = """\
from setuptools import Extension, setup
setup(
    name="mylib",
    packages=["mylib"],
    ext_modules=[Extension("mylib._c", ["mylib/_c.c"], extra_compile_args=["-O0"])],
)
"""
INSTALL = "pip install -q --no-build-isolation --no-deps --no-index ."


@pytest.mark.slow
def test_each_side_has_its_own_installed(top: Path) -> None:
    for version in (1, 2):
        source = {"src/mylib/__init__.py": f"number = {version}\n"}
        commit(top, source | {"setup.py": SETUP.format(version)})
    with sides(top, base="HEAD~1", build=INSTALL) as (base, head):
        code = "import mylib, torch; print(mylib.number, mylib.__file__, torch.__file__)"
        for number, side in enumerate((base, head), 1):
            own, place, torch = runs(side, f"import os; os.chdir('/'); {code}").split()
            assert own == str(number)
            assert Path(place).is_relative_to(side.subject.with_name(f"{side.name}-python"))
            assert Path(torch).is_relative_to(sys.prefix), "torch is not installed again"
            assert side.installed
            assert side.what.endswith(f", built by {INSTALL!r}")
            assert side.interpreter is not None and side.interpreter.prefix != sys.prefix
        assert len(base.python) == len(head.python)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["python setup.py -q build_ext --inplace", INSTALL])
def test_extensions_in_c_are_compiled_for_each_side(top: Path, command: str) -> None:
    commit(top, {"setup.py": BUILD_EXTENSION, ".gitignore": "build/\n*.so\n*.egg-info/\n"})
    for number in (1, 2):
        commit(top, {"mylib/_c.c": EXTENSION.format(number)})
    with sides(top, base="HEAD~1", build=command) as both:
        for number, side in enumerate(both, 1):
            code = "import sys; sys.path.append(''); import mylib._c; print(mylib._c.number())"
            if command == INSTALL:
                code = "import os; os.chdir('/'); " + code
            assert runs(side, code) == str(number)
            assert side.installed == (command == INSTALL)


def test_command_runs_in_the_same_folder_of_the_tree_as_it_is_typed_in(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(top / "mylib")
    with sides(top, build="pwd > made; which python > python; echo $VIRTUAL_ENV > env") as both:
        for side in both:
            made = files(side.subject)
            environment = side.subject.with_name(f"{side.name}-python")
            assert made["mylib/made"] == f"{side.subject}/mylib\n"
            assert made["mylib/python"] == f"{environment}/bin/python\n"
            assert made["mylib/env"] == f"{environment}\n"
            assert not side.installed


def test_what_a_build_installs_of_others_is_not_the_project(top: Path) -> None:
    folder = "$VIRTUAL_ENV/lib/python*/site-packages"
    command = f'cd {folder} && mkdir it-1.dist-info && echo "Name: it" > it-1.dist-info/METADATA'
    with sides(top, build=command) as (base, _):
        assert not base.installed


def test_builds_may_ask_git_for_a_version(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(top, "tag", "-a", "-m", "one", "v1", "main")
    write(top, {"mylib/net.py": "edited"})
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as a hook does
    with sides(top, build="git describe --dirty --long > version; git ls-files > names") as both:
        versions = [files(side.subject)["version"] for side in both]
        assert versions[0].startswith("v1-0-g") and "dirty" not in versions[0]
        assert versions[1].startswith("v1-1-g") and versions[1].endswith("-dirty\n")
        assert "mylib/net.py" in files(both[0].subject)["names"]


@pytest.mark.parametrize("name", ["base", "head"])
def test_build_that_fails_is_told(top: Path, name: str) -> None:
    changed = "changed" if name == "head" else "class Net"
    command = f"seq 30; grep -L '{changed}' mylib/net.py; ! grep -q '{changed}' mylib/net.py"
    if name == "base":
        commit(top, {"mylib/net.py": ""})
    why = refusal(top, build=command)
    assert why.startswith(f"--build failed on the {name} (")
    assert "with exit status 1" in why and command in why
    assert why.endswith("\n  29\n  30") and "\n  15\n" not in why
