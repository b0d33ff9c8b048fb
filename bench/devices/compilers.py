"""What torch.compile needs on a machine beside torch: why it cannot be had, or None."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def cpp_refusal() -> str | None:
    """Of its C++ kernels, which it builds with $CXX, else with the platform's own compiler."""
    default = "clang++" if sys.platform == "darwin" else "g++"
    compiler = os.environ.get("CXX", default)
    if not shutil.which(compiler):
        if "CXX" in os.environ:
            return f"torch.compile needs a C++ compiler: $CXX is {compiler!r}, which does not run"
        return f"torch.compile needs a C++ compiler: {default} is not on the PATH; set $CXX"
    return _header_refusal("torch.compile")


def triton_refusal(device: str, capability: tuple[int, int] | None = None) -> str | None:
    """Of Triton's kernels for a device of this name and, on CUDA, this compute capability."""
    from torch.utils._triton import has_triton, has_triton_package

    if not has_triton_package():
        return "torch.compile needs Triton there, and it is not installed"
    if capability is not None and capability < (7, 0):
        major, minor = capability
        return f"Triton needs compute capability 7.0 or higher: {device} has {major}.{minor}"
    if not has_triton():
        return f"Triton is installed, and torch does not use it for {device}"
    # Triton takes $CC as it is, and looks for these where it is not set.
    named = os.environ.get("CC")
    if named is not None and not shutil.which(named):
        return f"Triton needs a C compiler: $CC is {named!r}, which does not run"
    if named is None and not any(map(shutil.which, ("gcc", "clang"))):
        return "Triton needs a C compiler: neither gcc nor clang is on the PATH; set $CC"
    return _header_refusal("Triton")


def _header_refusal(who: str) -> str | None:
    """Both build modules for this Python, and many Linux packages of Python lack its headers."""
    schemes = (sysconfig.get_default_scheme(), "posix_prefix")
    folders = [Path(sysconfig.get_path("include", scheme)) for scheme in schemes]
    if sys.platform == "darwin":  # a framework's
        folders.append(Path(sysconfig.get_path("stdlib")).parents[1] / "Headers")
    if any((folder / "Python.h").exists() for folder in folders):
        return None
    return f"{who} needs Python's headers: there is no {folders[0] / 'Python.h'}"
