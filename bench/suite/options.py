"""The suite's own options, and pytest-benchmark's that mean something else here."""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError, check_allowed
from bench.matrix.axes import AXES
from bench.matrix.case import Case, case_from_id
from bench.matrix.ceiling import Ceiling, ceilings, ceilings_under, products_dtype
from bench.matrix.plan import ENVIRONMENTS, Plan
from bench.matrix.presets import DEFAULT_PRESET, PRESETS, compile_timed, select
from bench.units import number_from, whole_number_from
from sumnet.precision import PRECISIONS

MEANINGLESS = {
    "--benchmark-timer": "durations come from the device's own clock",
    "--benchmark-min-time": "a block is a fixed number of samples",
    "--benchmark-max-time": "all cases share the time: use --budget SECONDS",
    "--benchmark-min-rounds": "a round is a block, and replicates count: use --replicates N",
    "--benchmark-precision": "intervals come from replicates: use --replicates N",
    "--benchmark-confidence": "intervals are 95% prediction intervals",
    "--benchmark-calibration-precision": "a block is a fixed number of samples",
    "--benchmark-warmup": "every case is warmed up until it is steady",
    "--benchmark-warmup-iterations": "every case is warmed up until it is steady",
    "--benchmark-cprofile": "a timing taken under a profiler is not a timing",
    "--benchmark-cprofile-loops": "a timing taken under a profiler is not a timing",
    "--benchmark-cprofile-top": "a timing taken under a profiler is not a timing",
    "--benchmark-cprofile-dump": "a timing taken under a profiler is not a timing",
}
"""pytest-benchmark's options that a replayed clock cannot honour, and why. --benchmark-disable-gc
is what happens anyway: the collector never runs inside a block."""

GROUPINGS = (
    *("group", "name", "func", "fullname", "fullfunc"),
    *("param", "param:case", "param:phase"),
)
"""What pytest-benchmark's tables may be grouped by. It refuses others only after measuring."""
IN_PARALLEL = "tests in parallel would disturb each other's timings"
AT_ONCE = "the first test takes as long as all there is to measure"
INTERFERING = {
    "numprocesses": ("-n", IN_PARALLEL),
    "dist": ("--dist", IN_PARALLEL),
    "forked": ("--forked", "every test in a process of its own would measure everything again"),
    "timeout": ("--timeout", AT_ONCE),
    "session_timeout": ("--session-timeout", AT_ONCE),
    "reruns": ("--reruns", "a rerun would repeat the report, not the measurement"),
}
"""Settings of other plugins that spoil a measurement or end it early: by their name, the option
that sets them and what is wrong with it."""
FROM_ENVIRONMENT = {"timeout": "PYTEST_TIMEOUT"}
"""Those that an environment variable sets too."""
OFF = ("0", "0.0", "no")

DEFAULT_ENVIRONMENT = "stock"
DEFAULT_RESULTS = Path("results")

PLANNED = (
    *AXES,
    "preset",
    "case",
    "replicates",
    "budget",
    "lr",
    "compile_times",
    "profile",
    "energy",
    "ceilings",
    "environment",
    "order_seed",
    "results",
)
"""Options that a resumed run has from its journal."""


def add_options(parser: pytest.Parser) -> None:
    """Declare the suite's options."""
    group = parser.getgroup("sumnet", "training-step benchmark")
    for axis in AXES.values():
        group.addoption(f"--{axis.name}", metavar="A,B", help=f"{axis.help}: {axis.allowed}")
    group.addoption(
        "--preset", help=f"which cases: {', '.join(PRESETS)} (default {DEFAULT_PRESET})"
    )
    group.addoption("--case", action="append", default=[], metavar="ID", help="a case by its id")
    group.addoption("--replicates", metavar="N", help="worker processes per case")
    group.addoption("--budget", metavar="SECONDS", help="wall time to spend on measuring")
    group.addoption("--lr", metavar="RATE", help="learning rate (default: the optimizer's)")
    group.addoption("--compile-times", help="all or none (default: what the preset says)")
    group.addoption("--profile", action="store_true", help="profile each case, after its blocks")
    group.addoption("--energy", action="store_true", help="read what each case's training takes")
    group.addoption(
        "--ceilings", action="store_true", help="measure what this machine can reach, after all"
    )
    group.addoption("--environment", help=f"{' or '.join(ENVIRONMENTS)}")
    group.addoption("--order-seed", metavar="N", help="seeds the order of blocks")
    group.addoption(
        "--wide", action="store_true", help="tables with every column, also wider than the terminal"
    )
    group.addoption("--results", type=Path, help="where run files go")
    group.addoption("--resume", type=Path, metavar="JOURNAL", help="finish an interrupted run")


def refuse_meaningless(config: pytest.Config) -> None:
    """Raise UsageError for a pytest-benchmark option that could only be ignored."""
    given = [
        *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
        *config.getini("addopts"),
        *config.invocation_params.args,
    ]
    for word in given:
        name = str(word).partition("=")[0]
        if name in MEANINGLESS:
            raise UsageError(f"{name} has no meaning here: {MEANINGLESS[name]}")


def check_grouping(config: pytest.Config) -> None:
    """Raise UsageError where pytest-benchmark could not group its tables as it was asked to."""
    for word in config.getoption("benchmark_group_by", "group").split(","):
        check_allowed("benchmark-group-by", word, GROUPINGS)


def refuse_interfering(config: pytest.Config) -> None:
    """Raise UsageError where another plugin would spoil the measurement or end it early."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        raise UsageError(f"{IN_PARALLEL}: drop -n")
    for name, (option, reason) in INTERFERING.items():
        for source, value in _settings(config, name, option):
            if value is None or value is False or value == "":
                continue  # not set here
            if str(value) not in OFF:
                raise UsageError(f"{reason}: drop {source}")
            break
    if (coverage := sys.modules.get("coverage")) and coverage.Coverage.current():
        dropped = "--cov" if config.getoption("cov_source", None) else "`coverage run`"
        raise UsageError(f"tracing slows what is timed: drop {dropped}")


def _settings(config: pytest.Config, name: str, option: str) -> Iterator[tuple[str, Any]]:
    """A plugin's setting from each place it is looked for in, first things first."""
    if (given := config.getoption(name, config)) is config:
        return  # nobody declares it
    yield option, given
    if (variable := FROM_ENVIRONMENT.get(name)) is not None:
        yield variable, os.environ.get(variable)
    with contextlib.suppress(ValueError):  # it is not a setting of configuration files
        yield f"{name} from {config.inipath}", config.getini(name)


def refuse_beside_resume(config: pytest.Config) -> None:
    """Raise UsageError for an option that a resumed run could only ignore."""
    given = [f"--{name.replace('_', '-')}" for name in PLANNED if config.getoption(name)]
    given += [
        flag for flag, name in (("-k", "keyword"), ("-m", "markexpr")) if config.getoption(name)
    ]
    if config.getoption("benchmark_disable"):
        given.append("--benchmark-disable")
    if given:
        raise UsageError(f"--resume finishes a run as it was planned: drop {', '.join(given)}")


def plan_from(config: pytest.Config) -> Plan:
    """The plan that the options ask for. Raises UsageError for a value that is not allowed."""
    chosen = {name: text for name in AXES if (text := config.getoption(name)) is not None}
    ids: list[str] = config.getoption("case")
    asked: str | None = config.getoption("preset")
    if ids and (chosen or asked is not None):
        raise UsageError("--case names whole cases: it goes with neither --preset nor an axis")
    preset_name = DEFAULT_PRESET if asked is None else asked
    preset = PRESETS.get(preset_name, PRESETS[DEFAULT_PRESET])
    cases: list[Case] = (
        [case_from_id(text) for text in dict.fromkeys(ids)] if ids else select(preset_name, chosen)
    )
    environment = config.getoption("environment")
    if environment is None:
        environment = DEFAULT_ENVIRONMENT
    check_allowed("environment", environment, ENVIRONMENTS)
    return Plan(
        cases=cases,
        replicates=_number(config, "replicates", preset.replicates, whole_number_from, 1, 1000),
        budget_s=_number(config, "budget", preset.budget_s, number_from, 0, 7 * 86400, "seconds"),
        environment=environment,
        seed=_number(
            config, "order_seed", int.from_bytes(os.urandom(4)), whole_number_from, 0, 2**63
        ),
        lr=_number(config, "lr", None, number_from, 1e-30, 1e30),
        preset=None if ids else preset_name,
        named=bool(ids),
        compile_timed=_compile_timed(config, None if ids else preset_name, cases),
        profiled=config.getoption("profile"),
        energy=config.getoption("energy"),
        ceilings=ceilings_under(cases) if config.getoption("ceilings") else [],
    )


def ceilings_from(config: pytest.Config) -> list[Ceiling]:
    """The ceilings of the devices, thread counts and dtypes that the options name.

    Every dtype where they name none. Raises UsageError for a value that is not allowed.
    """

    def chosen(name: str, default: str) -> tuple[Any, ...]:
        text: str | None = config.getoption(name)
        return AXES[name].values(default if text is None else text)

    devices, threads = chosen("device", "cpu"), chosen("threads", "1")
    dtypes = dict.fromkeys(products_dtype(name) for name in chosen("dtype", ",".join(PRECISIONS)))
    return [
        above
        for device in devices
        for count in threads
        for above in ceilings(device, count, dtypes)
    ]


def _compile_timed(config: pytest.Config, preset: str | None, cases: list[Case]) -> list[str]:
    asked = config.getoption("compile_times")
    if asked is not None:
        check_allowed("compile-times", asked, ("all", "none"))
    if asked == "all":
        return [case.id for case in cases if case.compilation.compiles]
    return compile_timed(preset, cases) if preset is not None and asked is None else []


def _number(
    config: pytest.Config, name: str, default: Any, read: Callable[..., Any], *bounds: Any
) -> Any:
    """An option's number as `read`, of bench.units, has it."""
    text = config.getoption(name)
    return default if text is None else read(f"--{name.replace('_', '-')}", text, *bounds)
