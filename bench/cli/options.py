"""Options that several verbs have."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.matrix.axes import AXES
from bench.matrix.presets import DEFAULT_PRESET, PRESETS


def _axis(name: str) -> Any:
    return typer.Option(
        metavar="A,B",
        help=f"{AXES[name].help}: {AXES[name].allowed}",
        rich_help_panel="Axes (comma-separated; each replaces the preset's values)",
        show_default=False,
    )


Device = Annotated[str | None, _axis("device")]
Dtype = Annotated[str | None, _axis("dtype")]
Batch = Annotated[str | None, _axis("batch")]
Optimizer = Annotated[str | None, _axis("optimizer")]
Implementation = Annotated[str | None, _axis("implementation")]
Compile = Annotated[str | None, _axis("compile")]
Hidden = Annotated[str | None, _axis("hidden")]
Threads = Annotated[str | None, _axis("threads")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="; ".join(f"{name}: {preset.help}" for name, preset in PRESETS.items()),
        show_default=DEFAULT_PRESET,
    ),
]

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Run files or journals; by default the newest of every machine in the results.",
    ),
]
Statistic = Annotated[str, typer.Option(help="quiet or typical")]
Format = Annotated[str, typer.Option(help="github, plain, html, latex, tsv or csv")]
Results = Annotated[Path, typer.Option(help="where run files are looked for")]
Environment = Annotated[
    str | None,
    typer.Option(metavar="stock|steady", help="steady: malloc keeps its memory, times repeat"),
]
