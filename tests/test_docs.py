"""The documents: their commands run or parse; their options, links, anchors and paths exist."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from msgspec.structs import replace

from bench.gate.settings import read_settings
from bench.matrix.axes import AXES
from bench.matrix.ceiling import ceilings
from bench.options import PYTEST, VERBS, options_of
from bench.records.gate_report import write_report
from tests import synthetic
from tests.cases import sumnet
from tests.commands import invoke
from tests.gate.test_calibrate import identical

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "METHODOLOGY.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
GLOSSARY = ROOT / "docs" / "glossary.md"
PATIENCE_S = 300
SESSIONS = {"bench": "run", "compare": "compare", "regress": "regress"}
"""Sessions of nox that pass what follows `--` to a verb."""
OTHERS = {
    "pytest and its plugins": "-n --collect-only --dist --forked --timeout --session-timeout "
    "--reruns --benchmark- --benchmark-min-rounds --benchmark-columns --all",
    "nox": "--no-venv",
    "pip and setuptools": "--no-deps --inplace",
    "the pytest plugin": "--sumnet --sumnet-results --sumnet-device --sumnet-budget",
    "git": "--global --add --before --tags",
    "uv": "--config-file --output-file --upgrade",
    "the subject": "--epochs --lr --optimizer --hidden --seed --pairs",
}
"""Options in the documents that are not this command line's, by whose they are."""


# What is in the documents


@dataclass(frozen=True)
class Command:
    """A line of a `sh` block, or a part of one between `&&`."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """Without what is set for it, and the folder of a virtual environment."""
        words = [word.removeprefix(".venv/bin/") for word in shlex.split(self.text)]
        return words[len(list(takewhile(lambda word: re.match(r"[A-Z_]+=", word), words))) :]

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


@dataclass(frozen=True)
class Sample:
    """What a command printed, in part: `...` stands for lines that were left out."""

    page: str
    command: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {self.command}"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands() -> Iterator[Command]:
    for page in PAGES:
        for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in block.splitlines():
                parts = re.split(r" && ", line) if line.strip() else []
                yield from (Command(name(page), re.sub(" +# .*", "", part)) for part in parts)


def samples() -> Iterator[Sample]:
    pattern = r"^<!-- output of: (.*?) -->\n```text\n(.*?)^```"
    for page in PAGES:
        for command, text in re.findall(pattern, page.read_text(), re.M | re.S):
            yield Sample(name(page), command, tuple(text.splitlines()))


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(page), re.M)


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading without a namesake on its page."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# What a command needs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as the documents assume it: run files A to D, results of two machines, reports."""
    here = tmp_path_factory.mktemp("docs")
    for package in ("bench", "sumnet"):
        shutil.copytree(ROOT / package, here / package)
    cases = [sumnet(batch=batch, optimizer=which) for batch in (2, 64) for which in ("sgd", "adam")]
    cases += [replace(cases[1], implementation="fused"), replace(cases[1], compile="on")]
    times = {case: 1e5 + 1e4 * number for number, case in enumerate(cases)}
    measured: dict[str, Any] = {
        "profiles": dict.fromkeys(cases, synthetic.step_profile()),
        "ceilings": dict.fromkeys(ceilings("cpu", 1, ["float32"]), 1e4),
        "compiled": [synthetic.compile_measured(cases[-1], 10.0, 2.0)],
    }
    for file in "ABCD":
        synthetic.run_file(here / f"{file}.json", synthetic.run(times, **measured))
    there = synthetic.machine("intel-xeon-2c-24gib")
    named = {path for command in commands() for path in run_files(command)}
    stored = {f"results/amd-epyc-2c-24gib/2026010{number}T000000Z-a.json" for number in range(1, 5)}
    for path in sorted(named | stored):
        machine = there if there.name in path else synthetic.machine()
        synthetic.run_file(here / path, synthetic.run(times, on=machine))
    report = here / "results" / "amd-epyc-2c-24gib" / "gate" / "identical-1.json"
    report.parent.mkdir(parents=True)
    write_report(report, identical(recorded=True))
    return here


def run_files(command: Command) -> Iterator[str]:
    """Those in results/ that a command names; three for a pattern."""
    for word in command.words:
        if word.startswith("results/") and word.endswith(".json") and "/gate/" not in word:
            several = "*" in word and "/*/" not in word
            stem = re.sub(r"\[(\d)\d*(-\d)?\]", r"\1", word)
            yield from (stem.replace("*", f"{n}") for n in range(3)) if several else ()
            if "*" not in word:
                yield word


@cache
def run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command line as a shell runs it there, with this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        text,
        shell=True,
        cwd=folder,
        env={**inherited, "PATH": path, "SUMNET_STATE": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


# How a command is checked


def runs(command: Command, folder: Path) -> None:
    """It ends with a status of work that was done: 0, or that of a verdict or an invalid case."""
    done = run(command.text, folder)
    allowed = (0, 1, 3) if {"--verdicts", "--verify"} & {*command.words} else (0,)
    assert done.returncode in allowed, done.stdout + done.stderr


def collects(command: Command, folder: Path) -> None:
    """Its selection is planned in full, and nothing is measured."""
    done = run(f"{command.text} --collect-only", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "collected" in done.stdout


def parses(command: Command, folder: Path) -> None:
    """The command line is accepted; --help ends it before it does anything."""
    words = command.words
    if words[0] == "nox":
        options, _, rest = " ".join(words).partition(" -- ")
        session = options.split(" -s ")[1]
        assert session in sessions()
        if session not in SESSIONS:
            assert set(shlex.split(rest)) <= {"--all"}
            return
        words = (
            [SESSIONS[session], *words[words.index("--") + 1 :]] if rest else [SESSIONS[session]]
        )
    else:
        words = words[1 if words[0] == "sumnet-bench" else words.index("bench") + 1 :]
    done = invoke(*words, "--help")
    assert done.exit_code == 0, done.stderr


def names_files(command: Command, folder: Path) -> None:
    """Tests that it names are in this suite."""
    paths = [word for word in command.words if word.startswith("tests/")]
    assert paths and all((ROOT / path).exists() for path in paths)


def installs(command: Command, folder: Path) -> None:
    """It installs nox, or what this project needs beside torch, charts included."""
    words = command.words
    if words[:2] == ["pip", "install"] and words[2:] != ["nox"]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        needs = [*project["dependencies"], *project["optional-dependencies"]["report"]]
        assert sorted(words[2:]) == sorted(need for need in needs if not need.startswith("torch"))
    else:
        assert words in (["pip", "install", "nox"], ["python3", "-m", "venv", ".venv"])


def made_the_lock(command: Command, folder: Path) -> None:
    """The lock says of itself that this command made it."""
    assert f"#    {command.text}\n" in (ROOT / "requirements.lock").read_text()


Check = Callable[[Command, Path], None]
READS = r"python -m bench (compare|rank|repeatability)\b|python -m bench trend (A\.json|--results)"
RULES: tuple[tuple[str, Check, str], ...] = (
    (r"python3 -m venv|pip install", installs, "the tests install nothing"),
    (r"uv ", made_the_lock, "asks the package index"),
    (r"nox ", parses, "makes an environment and installs into it"),
    (READS + r"|python -m bench (profile|ceilings) A\.json", runs, ""),
    (r"python -m bench trend$", parses, "reads this machine's own results"),
    (r"python -m bench list (?!--verify)", runs, ""),
    (r"python -m bench calibrate results/", parses, "replays for minutes; a test of it makes 100"),
    (r"python -m bench run ?", collects, "measures for minutes; tests below measure a little"),
    (r"python -m pytest bench/suite/.*--collect-only", runs, ""),
    (r"python -m bench regress .*--device|python -m bench ceilings --device", parses, "no GPU"),
    (r"sumnet-bench ", parses, "is for a repository of a user's"),
    (r"python -m bench regress", parses, "measures for minutes, of revisions there may not be"),
    (r"python -m bench (ceilings|profile|calibrate|list --verify)", parses, "measures"),
    (r"pytest benchmarks/ --sumnet", lambda command, folder: None, "a test of the plugin runs it"),
    (r"python -m pytest tests/", names_files, "is part of this suite"),
    (r"python tests/fuzz/", names_files, "needs atheris, and goes on for long"),
    (r"python -m tests.endurance (kills|soak) ", lambda command, folder: None, "takes long"),
    (r"python -m sumnet ", lambda command, folder: None, "is run by a slow test below"),
)
"""What a command's words begin with, how it is checked, and why it is not simply run."""


def check_of(command: Command) -> Check:
    text = " ".join(command.words)
    for pattern, check, _ in RULES:
        if re.match(pattern, text):
            return check
    raise AssertionError(f"no rule says how this command is checked: {command}")


@pytest.mark.parametrize("command", dict.fromkeys(commands()), ids=str)
def test_command_does_or_parses_as_the_document_says(command: Command, folder: Path) -> None:
    check_of(command)(command, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("run", "--preset seed --budget 1 --replicates 2 --profile --energy"),
        ("run", f"{sumnet().id} --budget 1 --replicates 1"),
        ("profile", f"{sumnet(optimizer='adam').id} --traces traces"),
        ("ceilings", "--dtype float32 -k op"),
    ],
)
def test_measuring_verbs_measure_a_little(verb: str, words: str, folder: Path) -> None:
    """But for the gate and its replays, which take minutes and have tests of their own."""
    done = run(f"python -m bench {verb} {words}", folder)
    assert done.returncode == 0, done.stdout + done.stderr


SLOW = r"python -m sumnet |python -m bench list --verify .* --optimizer adam,"


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in commands() if re.match(SLOW, c.text)], ids=str)
def test_slow_command_ends_well(command: Command, folder: Path) -> None:
    runs(command, folder)


# Samples


def stored(sample: Sample) -> bool:
    """Whether the test data have every file that the sample's command reads."""
    paths = [word for word in sample.command.split() if word.startswith("results/")]
    data = ROOT / "tests" / "data" / "runs"
    return bool(paths) and all((data / f"{p.removeprefix('results/')}.gz").exists() for p in paths)


@pytest.mark.parametrize("sample", [s for s in dict.fromkeys(samples()) if stored(s)], ids=str)
def test_sample_is_what_the_command_prints(
    sample: Sample, stored_runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").symlink_to(stored_runs)
    for package in ("bench", "sumnet"):
        (tmp_path / package).symlink_to(ROOT / package)
    done = run(sample.command, tmp_path)
    printed = done.stdout.splitlines()
    stale = [line for line in sample.lines if line != "..." and line not in printed]
    assert stale == [], f"run it again and paste: {sample}\n{done.stderr}"


def test_every_sample_has_the_command_that_makes_it() -> None:
    for page in PAGES:
        marked = sum(sample.page == name(page) for sample in samples())
        printed = re.findall(r"^```text\n(?!sumnet/ )", page.read_text(), re.M)  # but for the map
        assert len(printed) == marked, name(page)


# Words


@pytest.fixture(scope="module")
def words() -> set[str]:
    """Every term of the glossary."""
    rows = re.findall(r"^\| (.+?) \| ", GLOSSARY.read_text(), re.M)
    terms = {term.strip("`") for row in rows for term in row.split(" · ")}
    return terms | {f"{term}s" for term in terms}


def columns(text: str) -> set[str]:
    """The headings of the tables in a text, without axes, intervals and what varies."""
    found: set[str] = set()
    for line, below in pairwise(text.splitlines()):
        if re.fullmatch(r"\|[-:|]+\|", below):
            found |= {cell.strip().removesuffix(" ± 95%") for cell in line.strip("|").split("|")}
    varies = (*AXES, "vs ", "n = ", "copy", "triad")
    return {cell for cell in found if cell and not cell.startswith(varies)}


def test_headings_of_samples_are_in_the_glossary(words: set[str]) -> None:
    missing = {
        heading: sample.command
        for sample in samples()
        for heading in columns("\n".join(sample.lines))
        if heading not in words
    }
    assert not missing, "; ".join(sorted(missing))


def test_headings_that_commands_print_are_in_the_glossary(words: set[str], folder: Path) -> None:
    missing = {
        heading: command.text
        for command in commands()
        if check_of(command) is runs and "--format" not in command.words
        for heading in columns(run(command.text, folder).stdout)
        if heading not in words
    }
    assert not missing, "; ".join(sorted(missing))


def test_glossary_is_in_order_and_says_each_word_once() -> None:
    rows = re.findall(r"^\| (.+?) \| ", GLOSSARY.read_text(), re.M)[2:]
    terms = [row for row in rows if not row.startswith(("±", "`"))]
    assert terms == sorted(set(terms), key=str.lower)


# Options, links, paths


@cache
def options() -> Mapping[str, str]:
    """Every option of every verb, to a verb that has it."""
    flags = {option.flag: verb for verb in (*VERBS, PYTEST) for option in options_of(verb)}
    return flags | dict.fromkeys(("--help", "-h", "--version"), "all")


@cache
def sessions() -> set[str]:
    return set(re.findall(r"^@\S+\ndef (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_option_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page.read_text()))
    known = {*options(), *" ".join(OTHERS.values()).split()}
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / unquote(path)).resolve() if path else page
        assert there.exists(), f"{name(page)}: {target}"
        if fragment:
            assert fragment in map(anchor, headings(there)), f"{name(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_in_code_marks_exists(page: Path) -> None:
    for path in re.findall(r"`((?:bench|sumnet|tests|docs|results)/[\w./-]*)`", page.read_text()):
        assert "MACHINE" in path or (ROOT / path).exists(), f"{name(page)}: {path}"


def test_methodology_keeps_the_anchors_that_others_link_to() -> None:
    old = """what-is-timed a-case-is-verified-before-it-is-timed what-is-varied
        devices-and-five-numbers blocks-sweeps-replicates metronomes-quiet-time-typical-time
        which-floor-serves-a-run intervals which-machine-it-is the-gate what-the-gate-reaches
        verdicts-on-two-stored-runs change-points where-the-time-goes ceilings limits
        machine-health-and-energy what-it-reaches against-pytest-benchmarks-own-loop
        the-environment what-the-numbers-favour not-there-yet rejected where-this-has-run"""
    assert set(old.split()) <= set(map(anchor, headings(ROOT / "METHODOLOGY.md")))


def test_settings_in_the_gates_page_are_read_and_are_the_defaults(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/gate.md").read_text(), re.M | re.S)
    (tmp_path / ".git").mkdir()
    defaults = read_settings(tmp_path)
    (tmp_path / "pyproject.toml").write_text(block)
    given = read_settings(tmp_path)
    assert given.budget_s == defaults.budget_s
    assert replace(given.rules, thresholds=defaults.rules.thresholds) == defaults.rules


def test_readme_is_short_and_has_the_command_that_ci_runs() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 8000
    (line,) = re.findall(r"^.*nox -s tests$", text, re.M)
    assert "grep -m1 'nox -s tests$' README.md" in (ROOT / ".ci" / "run").read_text()
    assert line.startswith("python3 -m venv ")


def test_pattern_of_committed_files_matches_some() -> None:
    for command in commands():
        for word in command.words:
            if word.startswith("results/amd") or word.startswith("results/intel"):
                assert (
                    subprocess.run(
                        ["git", "ls-files", "--error-unmatch", word],
                        cwd=ROOT,
                        check=False,
                        capture_output=True,
                    ).returncode
                    == 0
                ), command
