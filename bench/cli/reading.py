"""The verbs that read run files: compare, rank, repeatability."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app
from bench.cli.options import Files, Format, Results, Statistic
from bench.errors import UsageError
from bench.matrix.case import SERIES, WHOLE


@app.command()
def compare(
    files: Files = None,
    by: Annotated[
        str | None,
        typer.Option(help="what to compare by: run (the default for several) or an axis"),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="the value of --by that ratios refer to", show_default=False)
    ] = None,
    rows: Annotated[str | None, typer.Option(help="an axis to go down a table of times")] = None,
    columns: Annotated[str | None, typer.Option(help="an axis to go across it")] = None,
    phase: Annotated[str, typer.Option(help=f"what was timed: {', '.join(SERIES)}")] = WHOLE,
    statistic: Statistic = "quiet",
    limits: Annotated[
        bool,
        typer.Option("--limits", help="hold each case against what its machine can reach"),
    ] = False,
    roofline: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="with --limits: a chart too, .html, .png or .svg"),
    ] = None,
    format: Format = "github",
    results: Results = Path("results"),
) -> None:
    """Compare run files, of one machine or of several."""
    if roofline and not limits:
        raise UsageError("--roofline is a chart of limits: add --limits")
    if limits:
        layout = {"by": by, "reference": reference, "rows": rows, "columns": columns}
        given = [f"--{name}" for name, value in layout.items() if value is not None]
        if given or statistic != "quiet":
            refused = ", ".join(given or ["--statistic"])
            raise UsageError(f"--limits is a table of its own, of quiet times: drop {refused}")
        from bench.report.limits import print_limits

        print_limits(files or [], results, phase, format, roofline or [])
        return
    from bench.report.comparison import Request, compare_files

    print(
        compare_files(
            files or [],
            results,
            Request(by, reference, rows, columns, phase, statistic, format),
        )
    )


@app.command()
def rank(
    files: Files = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="what to choose among (default: run,device,dtype,implementation,compile,threads)",
            show_default=False,
        ),
    ] = None,
    statistic: Statistic = "quiet",
    format: Format = "github",
    results: Results = Path("results"),
) -> None:
    """Name the fastest configuration at each batch size, and where one device overtakes another."""
    from bench.report.ranking import rank_files

    print(rank_files(files or [], results, by, statistic, format))


@app.command()
def repeatability(
    files: Annotated[list[Path], typer.Argument(metavar="RUN...", help="runs of one plan")],
) -> None:
    """Say how well identical runs agree on this machine, and how often intervals held."""
    from bench.report.repeatability import repeatability_text

    print(repeatability_text(files))
