"""Runs that are killed or repeated many times: `python -m tests.endurance kills 200` or `soak 50`.

It takes from ten minutes to an hour, prints its figures, and exits with 1 where a promise was
broken. A few rounds of each are tests: see faults/test_endurance.py.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.records.run_file import RunRecord
from bench.records.store import load_run, read_journal
from bench.runner.events import BlockMeasured, ReplicateDone, SessionStarted
from tests.suite.driving import SEED_CASE, journals, run_files, start

MARK = "SUMNET_ENDURANCE"
"""A variable of a round's processes, by which those that are left are found."""
REPLICATES = 2
SETTLE_S = 3.0
"""What a killed run's processes have to be gone."""
MOST_KILLS = 4
"""Of one run; then it may finish."""


@dataclass
class Round:
    """A folder and an environment of its own."""

    folder: Path
    mark: str = field(default_factory=lambda: f"{os.getpid()}-{time.monotonic_ns()}")

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def bench(self, *words: object) -> subprocess.Popen[str]:
        environment = {
            MARK: self.mark,
            "SUMNET_STATE": str(self.folder / "state"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        (self.folder / "tmp").mkdir(exist_ok=True)
        return start("bench", "run", *words, **environment)

    def begin(self) -> subprocess.Popen[str]:
        return self.bench(
            SEED_CASE, "--budget=0", f"--replicates={REPLICATES}", f"--results={self.results}"
        )

    def processes(self) -> list[psutil.Process]:
        """Those of this round that are left."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            ours = process.environ().get(MARK) == self.mark
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    def left_running(self) -> list[psutil.Process]:
        """Those that are left when they should be gone."""
        deadline = time.monotonic() + SETTLE_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def finished_blocks(journal: Path) -> set[tuple[int, str, tuple[int, ...]]]:
    """Worker, kind and lowest percentiles of each block of a replicate that is complete."""
    _, events = read_journal(journal)
    found: set[tuple[int, str, tuple[int, ...]]] = set()
    blocks: set[tuple[int, str, tuple[int, ...]]] = set()
    for event in events:
        match event:
            case BlockMeasured(worker=worker, block=block):
                lowest = tuple(row[0] for _, row in sorted(block.quantiles_ns.items()))
                blocks.add((worker, block.kind, lowest))
            case SessionStarted():  # what was interrupted is measured anew
                blocks = set()
            case ReplicateDone():
                found |= blocks
                blocks = set()
    return found


def blocks_in(run: RunRecord) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """Likewise, of a run file."""
    for kind, workers in run.cases[0].blocks.items():
        for blocks in workers:
            for place in range(len(blocks)):
                row = tuple(column[place] for _, column in sorted(blocks.p10_ns.items()))
                yield blocks.worker, kind, row


def kill_round(folder: Path, draw: random.Random, whole_s: float) -> tuple[int, list[str]]:
    """How often a run was killed, at random moments, until it was finished; what went wrong."""
    this, wrong, kills = Round(folder), [], 0
    kept: set[tuple[int, str, tuple[int, ...]]] = set()
    command = this.begin()
    while True:
        try:
            command.wait(draw.uniform(0, whole_s) if kills < MOST_KILLS else None)
        except subprocess.TimeoutExpired:
            command.send_signal(signal.SIGKILL)
            command.wait()
            kills += 1
        if left := this.left_running():
            wrong.append(f"{len(left)} processes are left: {[p.cmdline()[-6:] for p in left]}")
        found = journals(this.results)
        if command.returncode == 0 or (not found and run_files(this.results)):
            break
        if command.returncode != -signal.SIGKILL:
            wrong.append(f"exit status {command.returncode}: {command.communicate()}")
            return kills, wrong
        if found and found[0].stat().st_size:
            kept |= finished_blocks(found[0])
            load_run(found[0])  # or it says why not
            command = this.bench("--resume", found[0])
        else:  # it was killed before it had planned anything
            command = this.begin()
    (path,) = run_files(this.results)
    run = load_run(path)
    if lost := kept - set(blocks_in(run)):
        wrong.append(f"{len(lost)} blocks of finished replicates are lost")
    replicates = {kind: len(workers) for kind, workers in run.cases[0].blocks.items()}
    if set(replicates.values()) != {REPLICATES} or not run.complete:
        wrong.append(f"replicates: {replicates}, complete: {run.complete}")
    others = [p.name for p in this.results.rglob("*") if p.is_file() and p != path]
    if any(not name.startswith(".") and not name.endswith(".journal") for name in others):
        wrong.append(f"files are left: {others}")
    return kills, wrong


def kills(rounds: int, seed: int) -> int:
    """Kill runs so many times in all; the exit status."""
    draw = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        Round(Path(folder)).begin().wait()
    whole_s = time.monotonic() - began
    done = runs = 0
    faults: list[str] = []
    while done < rounds:
        with tempfile.TemporaryDirectory() as folder:
            killed, wrong = kill_round(Path(folder), draw, whole_s)
        done, runs = done + killed, runs + 1
        faults += wrong
        print(f"{done} kills, {runs} runs finished, {len(faults)} faults", *wrong, flush=True)
    return int(bool(faults))


def soak(rounds: int) -> int:
    """Run so often in one process's children and in one folder; what is left must not grow."""
    folder = Path(tempfile.mkdtemp())
    this = Round(folder)
    faults = []
    sizes: list[tuple[int, int, int]] = []
    temporary: list[int] = []
    for number in range(1, rounds + 1):
        command = this.begin()
        peak = descriptors = 0
        while command.poll() is None:
            try:
                process = psutil.Process(command.pid)
                peak = max(peak, process.memory_info().rss)
                descriptors = max(descriptors, process.num_fds())
            except psutil.Error:
                pass
            time.sleep(0.05)
        if command.returncode:
            faults.append(f"run {number}: exit status {command.returncode}")
        if left := this.left_running():
            faults.append(f"run {number}: left {left}")
        # Torch makes a folder for its own caches there, once.
        temporary.append(len(list((folder / "tmp").rglob("*"))))
        sizes.append((peak, descriptors, len(list(this.results.rglob("*")))))
        print(f"run {number}: {peak / 2**20:.1f} MiB, {descriptors} descriptors", flush=True)
    first, last = sizes[: rounds // 5 or 1], sizes[-(rounds // 5 or 1) :]
    for what, place, allowed in (("memory", 0, 1.05), ("descriptors", 1, 1.0)):
        before, after = (max(size[place] for size in part) for part in (first, last))
        print(f"{what}: at most {before} in the first fifth of runs, {after} in the last")
        if after > allowed * before:
            faults.append(f"{what} grew from {before} to {after}")
    if temporary[-1] > temporary[0]:
        faults.append(f"temporary files grew from {temporary[0]} to {temporary[-1]}")
    if sizes[-1][2] != rounds + 1:  # a file each, in the machine's folder
        faults.append(f"{sizes[-1][2]} files and folders after {rounds} runs")
    print(*faults or ["no fault"], sep="\n")
    shutil.rmtree(folder)
    return int(bool(faults))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "soak"))
    parser.add_argument("rounds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.what == "soak":
        return soak(asked.rounds)
    return kills(asked.rounds, asked.seed)


if __name__ == "__main__":
    sys.exit(main())
