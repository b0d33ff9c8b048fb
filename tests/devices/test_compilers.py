"""What torch.compile needs beside torch: which compiler, which headers, which GPU."""

import sys
import sysconfig
from pathlib import Path

import pytest

from bench.devices.compilers import cpp_refusal, triton_refusal

NEW, OLD = (9, 0), (6, 1)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, no compiler named, and Python's headers."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda *names: str(tmp_path))
    return programs


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton is installed, and torch uses it."""
    for name in ("has_triton_package", "has_triton"):
        monkeypatch.setattr(f"torch.utils._triton.{name}", lambda: True)


def program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


# C++


@pytest.mark.parametrize(
    ("programs", "cxx", "missing"),
    [
        ([], None, "g++ is not on the PATH"),
        (["g++"], None, None),
        (["clang++"], None, "g++ is not on the PATH"),
        (["clang++", "g++"], None, None),
        (["g++", "icpx"], "icpx", None),
        (["g++"], "icpx", "$CXX is 'icpx'"),
        ([], "icpx", "$CXX is 'icpx'"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="the default there is clang++")
def test_cpp_needs_the_compiler_torch_would_call_and_no_other(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: list[str],
    cxx: str | None,
    missing: str | None,
) -> None:
    for name in programs:
        program(path, name)
    if cxx is not None:
        monkeypatch.setenv("CXX", cxx)
    refusal = cpp_refusal()
    assert (refusal is None) == (missing is None)
    assert (missing or "") in (refusal or "")


def test_both_need_pythons_headers(path: Path, triton: None) -> None:
    for name in ("g++", "clang++", "gcc"):
        program(path, name)
    assert cpp_refusal() is None
    assert triton_refusal("A GPU", NEW) is None
    (path.parent / "Python.h").unlink()
    for refusal in (cpp_refusal(), triton_refusal("A GPU", NEW)):
        assert refusal is not None
        assert str(path.parent / "Python.h") in refusal


# Triton


@pytest.mark.parametrize(
    ("programs", "cc", "missing"),
    [
        (["gcc"], None, None),
        (["clang"], None, None),
        (["cc"], None, "neither gcc nor clang"),
        ([], None, "neither gcc nor clang"),
        (["icx"], "icx", None),
        (["gcc"], "icx", "$CC is 'icx'"),
    ],
)
def test_triton_needs_the_compiler_it_would_call_and_no_other(
    path: Path,
    triton: None,
    monkeypatch: pytest.MonkeyPatch,
    programs: list[str],
    cc: str | None,
    missing: str | None,
) -> None:
    for name in programs:
        program(path, name)
    if cc is not None:
        monkeypatch.setenv("CC", cc)
    refusal = triton_refusal("A GPU", NEW)
    assert (refusal is None) == (missing is None)
    assert (missing or "") in (refusal or "")


def test_why_there_is_no_triton_is_told_apart(
    path: Path, triton: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(path, "gcc")
    assert "compute capability 7.0 or higher: A GPU has 6.1" in (triton_refusal("A GPU", OLD) or "")
    assert triton_refusal("Another", None) is None, "what has no capability is not held to one"
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: False)
    assert "is installed, and torch does not use it for A GPU" in (
        triton_refusal("A GPU", NEW) or ""
    )
    monkeypatch.setattr("torch.utils._triton.has_triton_package", lambda: False)
    for capability in (NEW, OLD):
        assert "not installed" in (triton_refusal("A GPU", capability) or "")
