"""What a process runs on: its Python, and the torch that it imports.

Also the script that examines an interpreter: given to `python -c` with the names of modules, it
imports them and prints what came of that as a line of JSON. That interpreter may be an old one that
lacks everything, so this module imports the standard library alone.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


def describe(torch: Any) -> dict[str, str]:
    """The fields of `protocol.Interpreter`, of this process and the torch module it imported."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "prefix": sys.prefix,
        "torch": str(torch.__version__),
        "torch_folder": str(_folder(torch)),
    }


def examine(names: list[str]) -> dict[str, Any]:
    """The fields of `gate.interpreters.Examined`, of this process."""
    failed: dict[str, str] = {}
    modules: dict[str, Any] = {}
    for name in names:
        try:
            modules[name] = importlib.import_module(name)
        except Exception as error:
            failed[name] = str(error)
    torch = modules.get("torch")
    return {
        "name": f"{platform.python_implementation()} {platform.python_version()}",
        "version": sys.version_info[:2],
        "failed": failed,
        "interpreter": torch and describe(torch),
        "overridden": torch and _overridden(torch),
    }


def _overridden(torch: Any) -> str | None:
    """The folder of the torch that this interpreter has and PYTHONPATH puts another before."""
    given = {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    if _folder(torch).parent not in given:
        return None
    spec = PathFinder.find_spec("torch", [e for e in sys.path if Path(e).resolve() not in given])
    return str(Path(spec.origin).resolve().parent) if spec and spec.origin else None


def _folder(torch: Any) -> Path:
    return Path(torch.__file__).resolve().parent


if __name__ == "__main__":
    print(json.dumps(examine(sys.argv[1:])))
