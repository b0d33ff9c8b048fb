"""The verb that reads the history of one machine: trend."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app
from bench.cli.options import Format, Results, Statistic, Wide
from bench.matrix.case import SERIES, WHOLE
from bench.report.terminal import table_width


@app.command()
def trend(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run files or journals of one machine; by default this one's in the results.",
        ),
    ] = None,
    phase: Annotated[str, typer.Option(help=f"what was timed: {', '.join(SERIES)}")] = WHOLE,
    statistic: Statistic = "quiet",
    chart: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="a chart too, .html, .png or .svg; may be repeated"),
    ] = None,
    format: Format = "github",
    wide: Wide = False,
    results: Results = Path("results"),
) -> None:
    """Tell one machine's history, and at which runs its times changed."""
    from bench.trend.views import print_trend

    width = table_width(wide)
    print_trend(files or [], results, phase, statistic, format, chart or [], width)
