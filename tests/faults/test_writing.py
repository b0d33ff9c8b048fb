"""What becomes of files where writing is cut off, refused, or meets something else than a file."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import MachineError, UsageError
from bench.records.store import (
    ABANDONED_S,
    JOURNAL_SUFFIX,
    ROOM,
    Journal,
    check_target,
    unfinished_runs,
    write_atomically,
)
from tests import synthetic
from tests.cases import sumnet
from tests.suite.driving import LEAST, ROOT, SEED_CASE, bench_run, the_error

OLD, NEW = b"old" * 1000, b"new" * 2000

KILLED_AT = """
import os, pathlib, signal, sys
from bench.records.store import write_atomically

def killed(*words, **named):
    os.kill(os.getpid(), signal.SIGKILL)

{fault}
write_atomically(pathlib.Path(sys.argv[1]), sys.argv[2].encode())
"""
FAULTS = {
    "opened": "io_open = pathlib.Path.open\npathlib.Path.open = lambda *w: (io_open(*w), killed())",
    "half written": "real = os.fsync\nos.fsync = lambda fd: (os.ftruncate(fd, 100), killed())",
    "not synced": "os.fsync = killed",
    "synced": "real = os.fsync\nos.fsync = lambda fd: (real(fd), killed())",
    "not renamed": "pathlib.Path.replace = killed",
    "renamed": "real = pathlib.Path.replace\n"
    "pathlib.Path.replace = lambda *words: (real(*words), killed())",
}
"""Where the process is killed to what it does then."""


@pytest.mark.parametrize("before", [OLD, None], ids=["an old file", "no file"])
@pytest.mark.parametrize("moment", FAULTS)
def test_killed_at_any_moment_there_is_the_old_file_or_the_new(
    tmp_path: Path, moment: str, before: bytes | None
) -> None:
    path = tmp_path / "kept.json"
    if before is not None:
        path.write_bytes(before)
    text = KILLED_AT.format(fault=FAULTS[moment])
    words = [sys.executable, "-c", text, str(path), NEW.decode()]
    assert subprocess.run(words, cwd=ROOT).returncode == -signal.SIGKILL
    found = path.read_bytes() if path.exists() else None
    assert found == (NEW if moment == "renamed" else before)
    left = [other for other in tmp_path.iterdir() if other != path]
    assert bool(left) == (moment != "renamed")
    for other in left:
        os.utime(other, (0, time.time() - 2 * ABANDONED_S))
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert list(tmp_path.iterdir()) == [path], "what was left is cleaned"


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    beside = [tmp_path / f".kept.json.{os.getppid()}", tmp_path / ".kept.json.swp"]
    for path in beside:
        path.touch()
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "kept.json", NEW)
    assert all(path.exists() for path in beside)


def test_a_journal_without_its_first_line_is_no_unfinished_run_and_goes(tmp_path: Path) -> None:
    header = synthetic.header([sumnet()])
    Journal.create(tmp_path, header).close()
    (kept,) = unfinished_runs(tmp_path)
    empty = kept.with_name(f"20200101T000000Z-0000000000{JOURNAL_SUFFIX}")
    empty.touch()
    assert unfinished_runs(tmp_path) == [kept]
    os.utime(empty, (0, 0))
    Journal.create(tmp_path, header).close()
    assert kept.exists() and not empty.exists()


def test_a_journal_that_is_written_to_is_no_unfinished_run(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, synthetic.header([sumnet()]))
    assert unfinished_runs(tmp_path) == []
    journal.close()
    assert unfinished_runs(tmp_path) == [journal.path]


# What stands where a file is to be written


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    return path


def test_a_device_is_refused_and_stays(device: Path) -> None:
    with pytest.raises(UsageError, match=str(device)):
        check_target(device, "--report")
    assert stat.S_ISCHR(device.stat().st_mode)


def test_pipes_folders_and_links_to_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            check_target(path, "--report")


@pytest.mark.parametrize("option", ["--report", "--badge"])
def test_the_gate_refuses_a_device_before_it_measures(tmp_path: Path, option: str) -> None:
    words = ["regress", "--same", SEED_CASE, option, "/dev/null"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    message = the_error(done.stderr)
    assert "/dev/null" in message and option in message
    assert time.monotonic() - began < 30, "no worker was started"


def test_a_link_stays_and_the_file_that_it_names_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "file.json", tmp_path / "link.json"
    target.parent.mkdir()
    target.write_bytes(OLD)
    link.symlink_to(target)
    write_atomically(check_target(link, "--report"), NEW)
    assert link.is_symlink() and target.read_bytes() == NEW


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file on which another one is mounted, as containers have them."""
    source, path = tmp_path / "source", tmp_path / "mounted.json"
    for file in (source, path):
        file.write_bytes(OLD)
    if subprocess.run(["mount", "--bind", source, path], capture_output=True).returncode:
        pytest.skip("only root mounts, and not in every container")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_file_that_is_mounted_is_written_in_place(mounted: Path) -> None:
    write_atomically(check_target(mounted, "--report"), NEW)
    assert mounted.read_bytes() == NEW
    assert sorted(mounted.parent.iterdir()) == [mounted, mounted.parent / "source"]


# No room


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={ROOM // 2}", "none", path]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("only root mounts, and not in every container")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_told_before_anything_is_measured(small_disk: Path) -> None:
    ran = bench_run(SEED_CASE, *LEAST, f"--results={small_disk}")
    assert ran.returncode == 2
    message = the_error(ran.stderr)
    assert str(small_disk) in message and "No space left" in message
    assert "worker" not in ran.stderr
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, ROOM // 2])
def test_a_quota_is_told_before_anything_is_measured(tmp_path: Path, size: int) -> None:
    """As a limit on the size of files is; with the lower one there are no temporary files."""
    command = [sys.executable, "-m", "bench", "run", SEED_CASE, *LEAST, f"--results={tmp_path}"]
    words = ["prlimit", f"--fsize={size}", *command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    message = the_error(done.stderr)
    assert str(tmp_path) in message and "too large" in message


def test_no_temporary_folder_is_told_with_what_to_do(tmp_path: Path) -> None:
    steps = tmp_path / "steps.py"
    steps.write_text("")
    words = ["prlimit", "--fsize=0", sys.executable, "-m", "bench", "list", str(steps)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == MachineError.exit_status
    assert "TMPDIR" in the_error(done.stderr)
