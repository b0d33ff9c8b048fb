"""Options that several verbs have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.matrix.case import Case, case_from_id
from bench.matrix.presets import DEFAULT_PRESET, PRESETS, select


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
Wide = Annotated[bool, typer.Option("--wide", help="every column, even if wider than the terminal")]
Results = Annotated[Path, typer.Option(help="where run files are looked for")]
Environment = Annotated[
    str | None,
    typer.Option(metavar="stock|steady", help="steady: malloc keeps its memory, times repeat"),
]


def check_selection(
    cases: Sequence[str] | None, preset: str | None, chosen: Mapping[str, str]
) -> None:
    """Raise UsageError where cases are named beside a preset or an axis."""
    if cases and (chosen or preset is not None):
        raise UsageError("CASE names whole cases: it goes with neither --preset nor an axis")


def selected(
    cases: Sequence[str] | None, preset: str | None, chosen: Mapping[str, str], default: str
) -> list[Case]:
    """The cases named by id, or else those of the preset and the axes.

    Raises UsageError for one that is not allowed.
    """
    if cases:
        return [case_from_id(text) for text in dict.fromkeys(cases)]
    return select(default if preset is None else preset, chosen)
