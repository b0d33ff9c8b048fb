"""The name under which the suite is installed, for an editable install: its modules are bench/'s.

A wheel holds bench/ itself under this name. `pip install --editable` only puts this folder on the
import path, and the command `sumnet-bench` imports the installed name.
"""

from pathlib import Path

from bench import __version__

__all__ = ["__version__"]
__path__ = [str(Path(__file__).with_name("bench"))]
