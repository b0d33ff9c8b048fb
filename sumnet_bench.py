"""The name under which the suite is installed, for an editable install: its modules are bench/'s.

A wheel holds bench/ itself under this name. An editable install only puts this folder on the import
path, and the command `sumnet-bench` imports the installed name. Nothing here imports `bench`, which
may be another package where this is imported.
"""

from pathlib import Path

SOURCE = Path(__file__).with_name("bench")
__path__ = [str(SOURCE)]
exec((SOURCE / "__init__.py").read_text(encoding="utf-8"))
