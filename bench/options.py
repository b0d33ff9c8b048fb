"""Every option, declared once. To add one, add its entry to OPTIONS.

The parsers of the command line, pytest's options, the keys of `[tool.sumnet-bench]`, what a resumed
run refuses and docs/cli.md are made of this table. A value is read once, where it enters, and
reaches those who use it under the option's name.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError
from .matrix.axes import AXES, SUITES, axes_of, selectable
from .matrix.case import WHOLE, Case, case_from_id
from .matrix.default_step import Catalogue
from .matrix.plan import ENVIRONMENTS
from .matrix.presets import DEFAULT_PRESET, GATE_PRESET, PRESETS, select
from .units import Reader, number, one_of, share_in, some_of, whole_number

COMMAND = "python -m bench" if __package__ == "bench" else "sumnet-bench"
"""What messages call the command: in a source tree, and where it is installed."""
PYTEST, PYPROJECT = "pytest", "pyproject"
"""Where options apply besides the verbs: bare pytest, and TABLE of a project's pyproject.toml."""
TABLE = "tool.sumnet-bench"

VERBS = {
    "list": "Print the ids of a selection's cases, and why those that cannot run here cannot.",
    "run": "Measure a selection of cases, write a run file, and print its table. Options that "
    "begin with --benchmark- go to pytest-benchmark; write them with their value: "
    "--benchmark-columns=min,max.",
    "profile": "Show what a step of each case does: operators, kernels, memory and shares, phase "
    "by phase.",
    "ceilings": "Measure what this machine can reach: bandwidths, matrix products, and what calls "
    "cost.",
    "compare": "Compare run files, of one machine or of several. With --verdicts the exit status "
    "is 0 where nothing regressed, 1 where something did, and 3 where that is not settled.",
    "rank": "Name the fastest configuration at each batch size, and where one device overtakes "
    "another.",
    "trend": "Show one machine's history, and at which runs its times changed.",
    "repeatability": "Show how well identical runs agree on this machine, and how often their "
    "intervals covered one another's times.",
    "regress": "Measure whether the head is slower than the base. Exit status: 0 nothing "
    "regressed, 1 something did or the head cannot run it, 2 wrong usage, 3 not settled "
    "(inconclusive, invalid or without a baseline), 4 the machine would not let us finish, 130 "
    "interrupted, 143 terminated.",
    "calibrate": "Measure how often the gate errs on this machine: false alarms, detection, "
    "intervals. A/A pairs are measured, or taken from reports; runs of the gate are replayed on "
    "them, as they are and with slowdowns added.",
}
"""Each verb, and what it does."""

TEXT = Reader("", str)
PATH = Reader("", Path)
MARGIN = share_in("above 0% and up to 50%", lambda share: 0 < share <= 0.5)
THRESHOLD = share_in("from 0% to 50%", lambda share: 0 <= share <= 0.5)
ALPHA = share_in("from 0.1% to 20%", lambda share: 0.001 <= share <= 0.2)
"""Below 0.98% nothing can be significant at the gate's first look, whose part of it is a fifth and
whose least p is 2^-9, though it can at later ones; below 0.1% the random patterns of signs at those
are too few to resolve it."""
CHOICES = ("run", "device", "dtype", "implementation", "compile", "threads")
"""What `rank` can choose among; the batch size, the optimizer and the net are the task."""
STEPS_SUFFIX = ".py"
"""Of a file that declares steps."""
WAIT, REFUSE, MEASURE = IF_BUSY = ("wait", "refuse", "measure")
"""What a command does while another one measures: wait for its end, end itself, or measure too."""
FORMATS = ("github", "plain", "html", "latex", "tsv", "csv")
"""Of printed tables; csv has every number instead."""


@dataclass(frozen=True)
class Option:
    """One option; it may have another entry, of the same name, for other fronts."""

    name: str
    """Of its value."""
    fronts: str
    """The verbs that have it, PYTEST and PYPROJECT, with spaces between."""
    help: str
    read: Reader | None = None
    """None for a flag."""
    metavar: str | None = None
    default: Any = None
    """The value where it is not given; a flag's is False, and that of one with `many` is []."""
    otherwise: str = ""
    """In words, what decides where it is not given and has no default."""
    typed: str = ""
    """As it is typed, where that is not `--name`; a positional argument's metavar."""
    many: str = ""
    """Where its value is a list: "append" if it may be repeated; "*" or "+" for a positional
    argument, as argparse has them."""
    planned: bool = False
    """Whether it says what a run measures: a resumed run, which has its plan, refuses it."""

    @property
    def flag(self) -> str:
        """What messages call it."""
        return self.typed or "--" + self.name.replace("_", "-")

    @property
    def description(self) -> str:
        """Its help, and in brackets what is allowed, how often, and its default."""
        default = self.otherwise or self.default
        facts = [
            self.read.allowed if self.read else "",
            "may be repeated" if self.many == "append" else "",
            f"default: {default}" if default else "",
        ]
        known = "; ".join(filter(None, facts))
        return f"{self.help} ({known})" if known else self.help

    def declare(self, add: Callable[..., Any]) -> None:
        """Add it to a parser of argparse or of pytest, which takes the same words."""
        words: dict[str, Any] = {"help": self.description.replace("%", "%%"), "default": None}
        if self.many in ("*", "+"):
            add(self.name, nargs=self.many, metavar=self.typed, **words)
        elif self.read is None:
            add(self.flag, dest=self.name, action="store_true", **words)
        else:
            action = self.many or "store"
            add(self.flag, dest=self.name, action=action, metavar=self.metavar, **words)

    def value(self, found: Any) -> Any:
        """What a parser found, read. Raises UsageError for a value that is not allowed."""
        if self.read is None:
            return bool(found)
        if self.many:
            return [self.read(self.flag, text) for text in found or ()]
        return self.default if found is None else self.read(self.flag, found)


def _axis(name: str) -> Option:
    """An axis; the values of a step's own are read when it is known which steps there are."""
    axis = AXES[name]
    ceilings = " ceilings" if name in ("device", "dtype", "threads") else ""
    return Option(
        name,
        f"list run profile regress pytest{ceilings}",
        axis.help,
        Reader(axis.allowed, axis.values if name in SUITES else str),
        "A,B",
        planned=True,
    )


_PRESETS = one_of(*PRESETS)
_FORMAT = one_of(*FORMATS)
_WHICH = "; ".join(f"{name}: {preset.help}" for name, preset in PRESETS.items())

OPTIONS = (
    # Arguments
    Option("cases", "list run", "ids of cases, instead of a preset and axes; a file that declares "
           "steps of your own", TEXT, typed="CASE|STEPS", many="*", planned=True),
    Option("cases", PYTEST, "a case by its id", TEXT, "ID", typed="--case", many="append",
           planned=True),
    Option("cases", "profile", "ids of cases, instead of a preset and axes; a file "
           "that declares steps of your own; or run files, whose profiles are printed", TEXT,
           typed="CASE|STEPS|RUN", many="*"),
    Option("cases", "regress", "ids of cases, instead of a preset and axes; a file that declares "
           "steps of your own; or a report, which is printed", TEXT,
           typed="CASE|STEPS|REPORT", many="*"),
    Option("files", "compare rank", "run files or journals; the newest of every machine in the "
           "results unless named", PATH, typed="RUN", many="*"),
    Option("files", "trend", "run files or journals of one machine; this one's in the results "
           "unless named", PATH, typed="RUN", many="*"),
    Option("files", "ceilings", "run files whose ceilings are printed; nothing is measured then",
           PATH, typed="RUN", many="*"),
    Option("files", "repeatability", "runs of one plan", PATH, typed="RUN", many="+"),
    Option("reports", "calibrate", "reports of A/A pairs to replay; nothing is measured then",
           PATH, typed="REPORT", many="*"),
    Option("steps", PYPROJECT, 'the file that declares your steps, from here: '
           '"benchmarks/steps.py"', Reader("a path", lambda text: text if isinstance(text, str) and
           text else None)),
    # Which cases
    Option("preset", "list run profile pytest", _WHICH, _PRESETS, "NAME", default=DEFAULT_PRESET,
           planned=True),
    Option("preset", "regress calibrate", _WHICH, _PRESETS, "NAME", default=GATE_PRESET),
    *map(_axis, AXES),
    Option("verify", "list", "run each case once, untimed, and report what it did"),
    # How a run measures
    Option("replicates", "run pytest", "worker processes that each case is measured in",
           whole_number(1, 1000), "N", otherwise="the preset's", planned=True),
    Option("budget", "run pytest", "wall time to spend on measuring",
           number(0, 7 * 86_400, "seconds"), "SECONDS", otherwise="the preset's", planned=True),
    Option("lr", "run pytest", "learning rate; a case whose loss does not fall at it is invalid",
           number(1e-30, 1e30), "RATE", otherwise="each optimizer's own", planned=True),
    Option("compile_times", "run pytest", "which compiled cases to time the compilation of too, "
           "with cold caches and warm ones", one_of("all", "none"), "all|none",
           otherwise="those the preset names", planned=True),
    Option("profile", "run pytest", "profile each case too, after its last block", planned=True),
    Option("ceilings", "run pytest", "measure what this machine can reach too, after all else",
           planned=True),
    Option("energy", "run pytest", "read what 3 s of training take from a counter of energy, for "
           "each case", planned=True),
    Option("environment", "run ceilings pytest", "steady: malloc keeps its memory, times repeat "
           "better", one_of(*ENVIRONMENTS), "stock|steady", default="stock", planned=True),
    Option("order_seed", "run pytest", "seeds the order of blocks", whole_number(0, 2**63), "N",
           otherwise="drawn", planned=True),
    Option("resume", "run ceilings pytest", "the journal of an interrupted run to finish", PATH,
           "JOURNAL"),
    Option("keyword", "run ceilings", "only what pytest's -k selects, by id", TEXT, "EXPRESSION",
           typed="-k", planned=True),
    Option("marker", "run", "only what pytest's -m selects", TEXT, "EXPRESSION", typed="-m",
           planned=True),
    Option("plugins", "run", "load a pytest plugin besides pytest-benchmark", TEXT, "NAME",
           typed="-p", many="append"),
    Option("collect_only", "run", "list what would be measured, as pytest does"),
    Option("traces", "profile", "keep Chrome traces (Perfetto) and folded stacks (flame graphs)",
           PATH, "FOLDER"),
    # The gate
    Option("base", "regress", "what is compared with: a revision, a folder that holds sumnet/, a "
           "value of an axis", TEXT, "REV|FOLDER|AXIS=VALUE", many="append",
           otherwise="where this branch left the main one"),
    Option("head", "regress", "what is judged, likewise", TEXT, "REV|FOLDER|AXIS=VALUE",
           many="append", otherwise="the working tree"),
    Option("base_torch", "regress", "a torch to install for the base", TEXT, "VERSION"),
    Option("base_python", "regress", "an interpreter to run the base with", TEXT, "PATH"),
    Option("base_env", "regress", "a variable set for the base alone", TEXT, "NAME=VALUE",
           many="append"),
    Option("build", "regress", "for steps of your own: a shell command that each side is built by, "
           "in its copy of the repository", TEXT, "COMMAND"),
    Option("steps_from", "regress", "for steps of your own: the side whose file both sides load",
           one_of("head", "base"), "head|base", otherwise="head"),
    Option("same", "regress", "an A/A test: both sides are the head"),
    Option("margin", "regress pyproject", "a smaller difference is equivalent", MARGIN, "SHARE",
           otherwise="3%"),
    Option("alpha", "regress pyproject", "how often an A/A test may call anything regressed",
           ALPHA, "SHARE", otherwise="1%"),
    Option("threshold", "regress pyproject", "a smaller slowdown does not fail, even if detected",
           THRESHOLD, "SHARE", otherwise="1%"),
    Option("thresholds", PYPROJECT, 'thresholds by pattern of case ids, the last that fits counts:'
           ' "cpu/float32/*" = "2%"', THRESHOLD),
    Option("budget", "regress pyproject", "wall time to spend at most",
           number(10, 86_400, "seconds"), "SECONDS", otherwise="280"),
    Option("report", "regress", "the JSON report", PATH, "FILE",
           otherwise="a new file in the results"),
    Option("badge", "regress", "the outcome too, as JSON for a badge of shields.io", PATH, "FILE"),
    Option("pairs", "calibrate", "A/A pairs to measure", whole_number(19, 10_000), "N", default=60),
    Option("replays", "calibrate", "runs of the gate to replay on them",
           whole_number(100, 1_000_000), "N", default=2000),
    # What is read from run files
    Option("skip_unreadable", "compare rank trend", "leave out files that cannot be read, with a "
           "line for each, instead of ending"),
    Option("by", "compare", "what to compare by: run or an axis", TEXT, "AXIS",
           otherwise="run, for several"),
    Option("by", "rank", "what to choose among", some_of(*CHOICES), "A,B",
           otherwise=",".join(CHOICES)),
    Option("reference", "compare", "the value of --by that ratios refer to", TEXT, "VALUE"),
    Option("rows", "compare", "what goes down a table of times", TEXT, "AXIS"),
    Option("columns", "compare", "what goes across it", TEXT, "AXIS"),
    Option("phase", "compare trend", "what was timed: a phase, or train_step, "
           "dispatch, latency or throughput", TEXT, "NAME", default=WHOLE),
    Option("statistic", "compare rank trend", "which time", one_of("quiet", "typical"),
           "quiet|typical", default="quiet"),
    Option("limits", "compare", "compare each case with what its machine can reach"),
    Option("roofline", "compare", "with --limits: a chart too, .html, .png or .svg", PATH, "FILE",
           many="append"),
    Option("verdicts", "compare", "judge the second of two runs of one machine against the first"),
    Option("margin", "compare", "with --verdicts: a smaller difference is equivalent", MARGIN,
           "SHARE", otherwise="5%"),
    Option("threshold", "compare", "with --verdicts: a smaller difference is not called",
           THRESHOLD, "SHARE", otherwise="3%"),
    Option("chart", "trend", "a chart too, .html, .png or .svg", PATH, "FILE", many="append"),
    Option("if_busy", "run ceilings regress calibrate pytest", "what to do while another command "
           "measures on this machine: wait for its end, refuse, or measure beside it",
           one_of(*IF_BUSY), "|".join(IF_BUSY), default=WAIT),
    # Where results are, and how they are printed
    Option("results", "list run ceilings pytest", "folder that run files are written to", PATH,
           "FOLDER", default=Path("results"), planned=True),
    Option("results", "compare rank trend regress calibrate", "folder of the run files and "
           "reports", PATH, "FOLDER", default=Path("results")),
    Option("format", "ceilings compare rank trend regress calibrate", "of tables", _FORMAT, "NAME",
           default="github"),
    Option("wide", "run profile ceilings compare rank trend repeatability regress calibrate "
           "pytest", "every column, even if wider than the terminal"),
)  # fmt: skip


def options_of(front: str) -> list[Option]:
    """The options that a verb, PYTEST or PYPROJECT has."""
    return [option for option in OPTIONS if front in option.fronts.split()]


def option_named(name: str, front: str) -> Option:
    """The one of a front's options that has this name."""
    return next(option for option in options_of(front) if option.name == name)


def parser_of(verb: str) -> argparse.ArgumentParser:
    """A verb's parser; it leaves values as text."""
    parser = argparse.ArgumentParser(
        f"{COMMAND} {verb}", description=VERBS[verb], allow_abbrev=False
    )
    axes = parser.add_argument_group("axes (comma-separated; each replaces the preset's values)")
    for option in options_of(verb):
        option.declare((axes if option.name in AXES else parser).add_argument)
    parser.error = _refuse  # type: ignore[assignment]
    return parser


def _refuse(message: str) -> None:
    raise UsageError(message)


def values_of(front: str, found: Mapping[str, Any]) -> argparse.Namespace:
    """The values of a front's options, read, from what a parser found.

    `given` has the flags of those that were given. Raises UsageError for one that is not allowed.
    """
    options = options_of(front)
    given = [o.flag for o in options if found[o.name] not in (None, [])]
    values = {o.name: o.value(found[o.name]) for o in options}
    return argparse.Namespace(given=given, own={}, catalogue=Catalogue(), **values)


def selected(asked: argparse.Namespace) -> list[Case]:
    """The cases of the catalogue that are named, or else those of the preset and the axes.

    `asked.own` has the values of axes that not every step has, as text. Raises UsageError where
    cases are named beside a preset or an axis, and for an axis or a step that is not there.
    """
    steps = asked.catalogue.steps
    given = {name: getattr(asked, name) for name in AXES if getattr(asked, name) is not None}
    chosen: dict[str, Any] = {**given, **asked.own}
    axes = selectable(steps)
    if asked.cases:
        for name in ("preset", *chosen):
            if f"--{name}" in asked.given or name in chosen:
                raise UsageError(f"a case id fixes every axis: drop --{name}")
        return list(dict.fromkeys(case_from_id(text, steps) for text in asked.cases))
    texts: dict[str, str] = {name: text for name, text in chosen.items() if name not in SUITES}
    for name in chosen:
        if name not in axes:
            own = ", ".join(f"--{n}" for n in axes if n not in SUITES) or "none"
            raise UsageError(
                f"no such option: --{name}; --help lists them, and the axes of these steps' own "
                f"are {own}"
            )
    names = {step.name for step in steps}
    if unknown := [name for name in chosen.get("workload", ()) if name not in names]:
        raise UsageError(
            f"--workload: there is no {unknown[0]!r}; there is {', '.join(sorted(names))}"
        )
    found: list[Case] = []
    refused: list[UsageError] = []
    accepted: set[str] = set()
    for step in (step for step in steps if step.name in chosen.get("workload", names)):
        try:
            values = {n: axis.values(texts[n]) for n, axis in axes_of(step).items() if n in texts}
        except UsageError as error:  # perhaps a value of another step's axis of that name
            refused.append(error)
            continue
        accepted.update(values)
        found += select(asked.preset, {**chosen, **values}, [step])
    if refused and not accepted:
        raise refused[0]
    return list(dict.fromkeys(found))
