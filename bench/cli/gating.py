"""The verbs of the gate: regress, calibrate."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app
from bench.cli.options import (
    Batch,
    Compile,
    Device,
    Dtype,
    Format,
    Hidden,
    Implementation,
    Optimizer,
    Results,
    Threads,
    Wide,
    check_selection,
    selected,
)
from bench.errors import check_allowed
from bench.matrix.axes import AXES
from bench.matrix.presets import GATE_PRESET, PRESETS, select
from bench.report.terminal import table_width


@app.command()
def regress(
    cases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CASE]...", help="Cases by id, instead of a preset and axes."),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REV|FOLDER|AXIS=VALUE",
            help="what is compared with: a revision, a folder that holds sumnet/, a value of an "
            "axis; may be repeated (default: where this branch left the main one)",
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REV|FOLDER|AXIS=VALUE",
            help="what is judged, likewise (default: the working tree)",
        ),
    ] = None,
    base_torch: Annotated[
        str | None, typer.Option(metavar="VERSION", help="a torch to install for the base")
    ] = None,
    base_python: Annotated[
        str | None, typer.Option(metavar="PATH", help="an interpreter to run the base with")
    ] = None,
    base_env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="set for the base alone; may be repeated"),
    ] = None,
    same: Annotated[
        bool, typer.Option("--same", help="measure identical sides: is it quiet enough here?")
    ] = False,
    margin: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="what differs by less is equivalent", show_default="3%"),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="a proven slowdown below this does not fail", show_default="1%"
        ),
    ] = None,
    alpha: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="how often identical sides may have anything called regressed",
            show_default="1%",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="wall time to spend at most", show_default="280"),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch: Batch = None,
    optimizer: Optimizer = None,
    implementation: Implementation = None,
    compile: Compile = None,
    hidden: Hidden = None,
    threads: Threads = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"which cases: {', '.join(PRESETS)}", show_default=GATE_PRESET),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="the JSON report (default: a new file in the results)"),
    ] = None,
    results: Results = Path("results"),
    format: Format = "github",
    wide: Wide = False,
) -> None:
    """Say whether the head is slower than the base, and exit with 1 where it is.

    Exit status: 0 nothing regressed, 1 something did, 2 wrong usage, 3 not settled (inconclusive or
    invalid), 4 the machine would not let us finish, 130 interrupted.
    """
    chosen = {name: text for name, text in locals().items() if name in AXES and text is not None}
    check_selection(cases, preset, chosen)
    from bench.report.tables import FORMATS

    check_allowed("format", format, FORMATS)
    from bench.gate.session import Request, run_gate
    from bench.gate.settings import overridden, read_settings
    from bench.gate.sides import Asked

    settings = overridden(read_settings(Path()), margin, alpha, threshold, budget)
    sides = Asked(
        base_torch=base_torch, base_python=base_python, base_env=base_env or (), same=same
    )
    wanted = selected(cases, preset, chosen, default=GATE_PRESET)
    request = Request(
        wanted,
        base or [],
        head or [],
        sides,
        bool(cases),
        report,
        results,
        format,
        table_width(wide),
    )
    raise typer.Exit(run_gate(request, settings))


@app.command()
def calibrate(
    reports: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[REPORT]...",
            help="Replay the pairs of these reports of identical sides, and measure nothing.",
        ),
    ] = None,
    pairs: Annotated[
        int, typer.Option(min=19, max=10_000, help="pairs of identical sides to measure")
    ] = 60,
    replays: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="runs of the gate to replay on them")
    ] = 2000,
    preset: Annotated[str, typer.Option(help=f"which cases: {', '.join(PRESETS)}")] = GATE_PRESET,
    results: Results = Path("results"),
    format: Format = "github",
    wide: Wide = False,
) -> None:
    """Say how often the gate errs on this machine: false alarms, detection, intervals.

    Pairs of identical sides are measured, or taken from reports; runs of the gate are replayed on
    them, as they are and with slowdowns put in.
    """
    from bench.report.tables import FORMATS

    check_allowed("format", format, FORMATS)
    from bench.gate.calibrate import record_pairs, replay_reports
    from bench.gate.settings import read_settings

    settings = read_settings(Path())
    files = reports or [record_pairs(select(preset, {}), pairs, settings, results)]
    print(replay_reports(files, settings, replays, format, table_width(wide)))
