"""The verbs that run cases: list, run, profile, ceilings."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.app import app
from bench.cli.options import (
    Batch,
    Compile,
    Device,
    Dtype,
    Environment,
    Hidden,
    Implementation,
    Optimizer,
    Preset,
    Threads,
    Wide,
    check_selection,
    selected,
)
from bench.errors import UsageError
from bench.matrix.axes import AXES
from bench.matrix.case import case_from_id
from bench.matrix.presets import DEFAULT_PRESET, select
from bench.report.terminal import table_width


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
        from bench.verification.verb import print_verification

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
    profile: Annotated[
        bool, typer.Option("--profile", help="profile each case too, after its last block")
    ] = False,
    ceilings: Annotated[
        bool, typer.Option("--ceilings", help="measure too what this machine can reach, after all")
    ] = False,
    energy: Annotated[
        bool,
        typer.Option("--energy", help="read what training takes, 3 s a case, from a counter"),
    ] = False,
    environment: Environment = None,
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
    plugins: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            metavar="NAME",
            help="load a pytest plugin besides pytest-benchmark; may be repeated",
        ),
    ] = None,
    wide: Wide = False,
) -> None:
    """Measure a selection of cases, write a run file, and print its table."""
    given = dict(locals())
    words = given.pop("arguments") or []
    named = given.pop("plugins") or []
    if blocked := [name for name in named if name.startswith("no:")]:
        raise UsageError(
            f"-p {blocked[0]}: only what -p names is loaded, so there is nothing to block"
        )
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
    options += _as_words(given)
    from bench.suite.session import run_suite

    raise typer.Exit(run_suite([*options, *(f"--case={case}" for case in cases)], plugins=named))


@app.command()
def profile(
    cases: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CASE | RUN]...",
            help="Cases by id, instead of a preset and axes; or run files whose profiles to print.",
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
    traces: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="keep Chrome traces (Perfetto) and folded stacks (flame graphs)"
        ),
    ] = None,
    wide: Wide = False,
) -> None:
    """Say what a step of each case does: operators, kernels, memory and shares, phase by phase."""
    chosen = {name: text for name, text in locals().items() if name in AXES and text is not None}
    check_selection(cases, preset, chosen)
    files = [Path(word) for word in cases or [] if word.endswith((".json", ".journal"))]
    if files:
        if len(files) < len(cases or []) or traces is not None:
            raise UsageError("run files are printed and nothing is profiled: name files alone")
        from bench.profiles.views import print_stored_profiles

        print_stored_profiles(files, table_width(wide))
        return
    from bench.profiles.views import print_profiles

    wanted = selected(cases, preset, chosen, default=DEFAULT_PRESET)
    raise typer.Exit(print_profiles(wanted, traces, table_width(wide)))


@app.command()
def ceilings(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Print those of run files, and measure nothing."),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    keyword: Annotated[
        str | None, typer.Option("-k", metavar="EXPRESSION", help="pytest's -k, on ceilings' ids")
    ] = None,
    environment: Environment = None,
    results: Annotated[
        Path | None, typer.Option(help="folder for run files (default: results)")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="JOURNAL", help="finish an interrupted measurement")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="of files: github, plain, html, latex, tsv or csv")
    ] = None,
    wide: Wide = False,
) -> None:
    """Measure what this machine can reach: bandwidths, products, and what calls cost."""
    given = dict(locals())
    del given["files"], given["format"]
    if files:
        del given["wide"]
    options = _as_words(given)
    if files:
        if options:
            raise UsageError(f"files are printed and nothing is measured: drop {options[0]}")
        from bench.roofline.ceilings_view import ceilings_files

        print(ceilings_files(files, format or "github", table_width(wide)))
        return
    if format is not None:
        raise UsageError("--format is for printing run files: name some")
    from bench.suite.session import run_suite

    raise typer.Exit(run_suite(options, "test_ceilings"))


def _as_words(given: Mapping[str, Any]) -> list[str]:
    """A verb's options by their names, as pytest is given them."""
    words: list[str] = []
    for name, value in given.items():
        flag = {"keyword": "-k", "marker": "-m"}.get(name, "--" + name.replace("_", "-"))
        if value is True:
            words.append(flag)
        elif value not in (None, False):
            words += [f"{flag}={value}"] if flag.startswith("--") else [flag, str(value)]
    return words


def _is_case_id(text: str) -> bool:
    try:
        case_from_id(text)
    except UsageError:
        return False
    return True
