"""The command line. Each verb imports what it needs when it runs, so that --help is quick."""

import itertools
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import __version__
from bench.errors import BenchError, UsageError
from bench.matrix.axes import AXES
from bench.matrix.case import SERIES, WHOLE
from bench.matrix.presets import DEFAULT_PRESET, PRESETS, select

app = typer.Typer(
    help="Time the training step of a small net, and say what the times mean.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


@app.command("list")
def list_cases(
    device: Device = None,
    dtype: Dtype = None,
    batch: Batch = None,
    optimizer: Optimizer = None,
    implementation: Implementation = None,
    compile: Compile = None,
    hidden: Hidden = None,
    threads: Threads = None,
    preset: Preset = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="run each case once, untimed, and say what it did")
    ] = False,
) -> None:
    """Print the ids of a selection's cases, and why those that cannot run here cannot."""
    chosen = {name: text for name, text in locals().items() if name in AXES and text is not None}
    cases = select(DEFAULT_PRESET if preset is None else preset, chosen)
    if verify:
        from bench.report.verification import print_verification

        raise typer.Exit(print_verification(cases))
    from bench.devices import probe
    from bench.matrix.support import unsupported_reason

    facts = probe()
    for case in cases:
        reason = unsupported_reason(case, facts)
        print(case.id if reason is None else f"{case.id}  unsupported: {reason}")


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CASE | --collect-only | --benchmark-OPTION=VALUE]...",
            help="Cases by id, instead of a preset and axes; pytest's and pytest-benchmark's own.",
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch: Batch = None,
    optimizer: Optimizer = None,
    implementation: Implementation = None,
    compile: Compile = None,
    hidden: Hidden = None,
    threads: Threads = None,
    preset: Preset = None,
    replicates: Annotated[
        str | None, typer.Option(metavar="N", help="worker processes a case is measured in")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="wall time to spend on measuring")
    ] = None,
    lr: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="learning rate; a case whose loss does not fall at it is invalid"
        ),
    ] = None,
    compile_times: Annotated[
        str | None,
        typer.Option(
            metavar="all|none",
            help="time compiling too, with empty caches and full ones (default: as the preset has)",
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(metavar="stock|steady", help="steady: malloc keeps its memory, times repeat"),
    ] = None,
    order_seed: Annotated[
        str | None, typer.Option(metavar="N", help="seeds the order of blocks")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="folder for run files (default: results)")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="JOURNAL", help="finish an interrupted run")
    ] = None,
    keyword: Annotated[
        str | None, typer.Option("-k", metavar="EXPRESSION", help="pytest's -k, on case ids")
    ] = None,
    marker: Annotated[
        str | None, typer.Option("-m", metavar="EXPRESSION", help="pytest's -m")
    ] = None,
) -> None:
    """Measure a selection of cases, write a run file, and print its table."""
    given = {name: value for name, value in locals().items() if value is not None}
    given |= {"-k": given.pop("keyword", None), "-m": given.pop("marker", None)}
    words = given.pop("arguments", [])
    options = [word for word in words if word.startswith(("--benchmark-", "--collect-only"))]
    cases = [word for word in words if not word.startswith("-")]
    for word in words:
        if word not in options and word not in cases:
            raise UsageError(f"no such option: {word}; `run --help` lists them")
    for option, word in itertools.pairwise(words):
        if option in options and "=" not in option and word in cases and not _is_case_id(word):
            raise UsageError(
                f"{word!r} is not a case id; if it is the value of {option}, write {option}={word}"
            )
    for name, value in given.items():
        if value is not None:
            flag = name if name.startswith("-") else "--" + name.replace("_", "-")
            options += [flag, str(value)] if flag in ("-k", "-m") else [f"{flag}={value}"]
    from bench.suite.session import run_suite

    raise typer.Exit(run_suite([*options, *(f"--case={case}" for case in cases)]))


def _is_case_id(text: str) -> bool:
    from bench.matrix.case import case_from_id

    try:
        case_from_id(text)
    except UsageError:
        return False
    return True


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
    format: Format = "github",
    results: Results = Path("results"),
) -> None:
    """Compare run files, of one machine or of several."""
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


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sumnet-bench {__version__}")
        raise typer.Exit


@app.command()
def repeatability(
    files: Annotated[list[Path], typer.Argument(metavar="RUN...", help="runs of one plan")],
) -> None:
    """Say how well identical runs agree on this machine, and how often intervals held."""
    from bench.report.repeatability import repeatability_text

    print(repeatability_text(files))


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script. Errors a person can mend are one message, not a traceback."""
    try:
        app()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
