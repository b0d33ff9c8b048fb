"""The verbs that read run files: compare, rank, repeatability."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app
from bench.cli.options import Files, Format, Results, Statistic, Wide
from bench.errors import UsageError
from bench.matrix.case import SERIES, WHOLE
from bench.report.terminal import table_width


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
    verdicts: Annotated[
        bool,
        typer.Option("--verdicts", help="judge the second of two runs of one machine by the first"),
    ] = False,
    margin: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="with --verdicts: less is equivalent (default: 5%)"),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="with --verdicts: less is not called (default: 3%)"),
    ] = None,
    format: Format = "github",
    wide: Wide = False,
    results: Results = Path("results"),
) -> None:
    """Compare run files, of one machine or of several.

    With --verdicts, the exit status is 0 where nothing regressed, 1 where something did, and 3
    where that is not known.
    """
    layout: dict[str, object] = {"by": by, "reference": reference, "rows": rows, "columns": columns}
    width = table_width(wide)
    layout["statistic"] = None if statistic == "quiet" else statistic
    if roofline and not limits:
        raise UsageError("--roofline is a chart of limits: add --limits")
    if not verdicts and (margin is not None or threshold is not None):
        raise UsageError("--margin and --threshold are of verdicts: add --verdicts")
    if verdicts:
        layout |= {"phase": None if phase == WHOLE else phase, "limits": limits or None}
        _refuse_layout("--verdicts", layout)
        from bench.compare.two_runs_view import rules_of, verdicts_of_files

        rules = rules_of(margin, threshold)
        text, status = verdicts_of_files(files or [], results, rules, format, width)
        print(text)
        raise typer.Exit(status)
    if limits:
        _refuse_layout("--limits", layout)
        from bench.roofline.views import print_limits

        print_limits(files or [], results, phase, format, roofline or [], width)
        return
    from bench.compare.views import Request, compare_files

    print(
        compare_files(
            files or [],
            results,
            Request(by, reference, rows, columns, phase, statistic, format, width),
        )
    )


def _refuse_layout(option: str, layout: dict[str, object]) -> None:
    """Raise UsageError where something was asked for that a table of its own does not have."""
    given = [f"--{name}" for name, value in layout.items() if value is not None]
    if given:
        raise UsageError(f"{option} is a table of its own, of quiet times: drop {', '.join(given)}")


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
    wide: Wide = False,
    results: Results = Path("results"),
) -> None:
    """Name the fastest configuration at each batch size, and where one device overtakes another."""
    from bench.rank.views import rank_files

    print(rank_files(files or [], results, by, statistic, format, table_width(wide)))


@app.command()
def repeatability(
    files: Annotated[list[Path], typer.Argument(metavar="RUN...", help="runs of one plan")],
    wide: Wide = False,
) -> None:
    """Say how well identical runs agree on this machine, and how often intervals held."""
    from bench.repeatability.views import repeatability_text

    print(repeatability_text(files, table_width(wide)))
