"""How these tests drive the suite: real commands, and options as the suite declares them."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from bench.options import PYTEST, options_of, values_of
from bench.runner.process import WORKER

ROOT = Path(__file__).parents[2]
SEED_CASE = "cpu/float32/b2/sgd/default/compile-off/h10/t1"
LEAST = ("--replicates=1", "--budget=0")
"""What measures as little as a run can."""
PATIENCE_S = 300
SESSION_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")


def surroundings(**more: str) -> dict[str, str]:
    """The environment of a command: ours, without what this pytest session put into it."""
    kept = {name: value for name, value in os.environ.items() if name not in SESSION_VARIABLES}
    return kept | {"COLUMNS": "200"} | more


def start(
    module: str, *words: object, cwd: Path = ROOT, **environment: str
) -> subprocess.Popen[str]:
    """`python -m MODULE WORDS...`, in the repository's root by default, interruptible."""
    # A shell starts background jobs deaf to SIGINT, and the deafness is inherited.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=cwd,
            env=surroundings(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """What the command printed, and its exit status."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def bench_run(
    *words: object, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return finish(start("bench", "run", *words, cwd=cwd, **environment))


def run_pytest(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return finish(start("pytest", "-p", "no:cacheprovider", *words, **environment))


def written(results: Path) -> list[Path]:
    """Every file and folder under `results`."""
    return sorted(results.rglob("*"))


def run_files(results: Path) -> list[Path]:
    return sorted(results.glob("*/*Z-*.json"))


def journals(results: Path) -> list[Path]:
    return sorted(results.glob("*/*.journal"))


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    """The first true thing that `found` finds."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if thing := found():
            return thing
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes that a command has now."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return str(WORKER) in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def alive(process: psutil.Process) -> bool:
    """Whether the process still runs; one that only waits for its parent to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def the_error(output: str) -> str:
    """The one message in what a command printed on standard error."""
    assert "Traceback" not in output
    (message,) = re.findall(r"^(?:ERROR|error): (.*?)\s*\Z", output, flags=re.MULTILINE | re.DOTALL)
    assert "\nERROR" not in message and "\nerror" not in message
    return str(message)


def asked(*words: str, front: str = PYTEST) -> argparse.Namespace:
    """The values of a front's options in these words."""
    parser = argparse.ArgumentParser()
    for option in options_of(front):
        option.declare(parser.add_argument)
    return values_of(front, vars(parser.parse_args(words)))


def stub_config(
    *words: str,
    addopts: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    **options: object,
) -> Any:
    """Stands for a pytest.Config that was given these words and has these options.

    `settings` are those of its configuration file.
    """
    known = {"keyword": "", "markexpr": "", "benchmark_disable": False, "benchmark_enable": False}
    known |= options

    def getini(name: str) -> object:
        found = {"addopts": list(addopts), **(settings or {})}
        if name not in found:
            raise ValueError(f"unknown configuration value: {name!r}")
        return found[name]

    return SimpleNamespace(
        getoption=lambda name, default=None: known.get(name, default),
        getini=getini,
        inipath=Path("pytest.ini"),
        invocation_params=SimpleNamespace(args=words),
    )
