"""The fingerprint: hardware, software and code, and nothing of whose machine it is."""

import getpass
import os
import platform
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest
import torch

from bench.devices.limits import ControlGroups
from bench.machine import fingerprint as machine
from bench.machine.fingerprint import Machine, commit_unknown, fingerprint

HOST = "hostname-of-no-concern"
USER = "user-of-no-concern"


@pytest.fixture
def someones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine belongs to USER and calls itself HOST."""
    here = platform.uname()
    there = here._replace(node=HOST)
    monkeypatch.setattr(platform, "uname", lambda: there)
    monkeypatch.setattr(platform, "node", lambda: HOST)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    monkeypatch.setenv("HOSTNAME", HOST)
    monkeypatch.setenv("HOME", f"/home/{USER}")


def hardware(
    monkeypatch: pytest.MonkeyPatch, model: str, cores: int, gib: float, *gpus: str
) -> None:
    memory = SimpleNamespace(total=int(gib * 2**30))
    monkeypatch.setattr(machine, "_cpu_model", lambda: model)
    found = tuple((name, f"GPU-{number}") for number, name in enumerate(gpus))
    monkeypatch.setattr(machine, "_gpus", lambda: found)
    monkeypatch.setattr(psutil, "cpu_count", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


def test_fingerprint_names_neither_host_nor_user(
    monkeypatch: pytest.MonkeyPatch, someones: None
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"/tmp/torchinductor_{USER}")
    monkeypatch.setenv("TORCH_HOME", f"/home/{USER}/models")
    text = msgspec.json.encode(fingerprint()).decode()
    assert "TORCHINDUCTOR_CACHE_DIR" in text and "TORCH_HOME" in text
    assert HOST not in text
    assert USER not in text


@pytest.mark.parametrize(
    ("model", "cores", "gib", "name"),
    [
        ("Intel(R) Xeon(R) Processor", 2, 23.6, "intel-xeon-2c-24gib"),
        (
            "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz",
            8,
            15.4,
            "intel-core-i7-8650u-8c-15gib",
        ),
        ("AMD EPYC 7763 64-Core Processor", 128, 503.6, "amd-epyc-7763-64-core-128c-504gib"),
        ("AMD Ryzen 9 5950X 16-Core Processor", 32, 62.7, "amd-ryzen-9-5950x-16-core-32c-63gib"),
        ("Apple M2 Pro", 10, 16.0, "apple-m2-pro-10c-16gib"),
        ("Neoverse-N1", 4, 7.6, "neoverse-n1-4c-8gib"),
        ("aarch64", 4, 3.8, "aarch64-4c-4gib"),
        ("odd/../name with: signs\\", 1, 1.0, "odd-..-name-with-signs-1c-1gib"),
    ],
)
def test_name_says_the_hardware_in_one_plain_word(
    monkeypatch: pytest.MonkeyPatch, model: str, cores: int, gib: float, name: str
) -> None:
    hardware(monkeypatch, model, cores, gib)
    found = fingerprint()
    assert (found.name, found.cpu, found.cores) == (name, model, cores)
    assert "/" not in found.name


def test_machine_of_a_run_before_quotas_were_read_has_none() -> None:
    older = msgspec.to_builtins(fingerprint())
    del older["cpu_quota"]
    found = msgspec.convert(older, Machine)
    assert (found.cpu_quota, found.quota) == (None, "none")
    assert found.cores_used == f"{found.available_cores} of {found.cores} cores"


def test_machine_under_a_quota_says_so_beside_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControlGroups, "cpu_quota", lambda groups: 1 / 3)
    hardware(monkeypatch, "Neoverse-N1", 4, 8.0)
    found = fingerprint()
    assert (found.cpu_quota, found.quota) == (1 / 3, "0.3333 cores")
    assert found.cores_used == "1 of 4 cores, CPU quota 0.3333 cores"


def test_machine_whose_cores_and_memory_are_unavailable_has_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise ValueError("<unknown>")

    monkeypatch.setattr(machine, "_cpu_model", lambda: "Neoverse-N1")
    monkeypatch.setattr(machine, "_gpus", lambda: ())
    for name in ("cpu_count", "virtual_memory"):
        monkeypatch.setattr(psutil, name, refuse)
    monkeypatch.setattr(machine, "available_cores", lambda: 3)
    assert fingerprint().name == "neoverse-n1-3c-0gib"
    monkeypatch.setattr(psutil, "cpu_count", lambda: None)
    assert fingerprint().name == "neoverse-n1-3c-0gib"


@pytest.mark.parametrize(
    ("gpus", "name"),
    [
        (["NVIDIA H200"], "intel-xeon-16c-128gib-nvidia-h200"),
        (["NVIDIA H200"] * 2, "intel-xeon-16c-128gib-2x-nvidia-h200"),
        (
            ["Tesla T4", "NVIDIA A100-SXM4-40GB", "Tesla T4"],
            "intel-xeon-16c-128gib-2x-tesla-t4-nvidia-a100-sxm4-40gb",
        ),
    ],
)
def test_gpus_are_part_of_the_name(
    monkeypatch: pytest.MonkeyPatch, gpus: list[str], name: str
) -> None:
    hardware(monkeypatch, "Intel(R) Xeon(R) Processor", 16, 128.0, *gpus)
    found = fingerprint()
    assert (found.name, found.gpus) == (name, tuple(gpus))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_gpus_are_called_as_torch_calls_them() -> None:
    assert torch.cuda.get_device_name(0) in fingerprint().gpus


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is an NVIDIA driver")
def test_machine_without_a_driver_has_no_gpus() -> None:
    assert fingerprint().gpus == ()


def test_cpu_model_is_read_from_the_kernel_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Fast CPU: v2\nflags\t: a"
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "read_text", lambda self, **_: cpuinfo)
    assert machine._cpu_model() == "Fast CPU: v2"


def test_cpu_model_falls_back_where_the_kernel_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(Path, "read_text", lambda self, **_: "processor\t: 0\n")
    assert machine._cpu_model() == "aarch64 CPU"


def test_environment_keeps_what_changes_timings_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(os.environ):
        if machine.ENVIRONMENT.fullmatch(name) or name in machine.ENVIRONMENT_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1024")
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("MY_OMP_NUM_THREADS", "4")
    assert fingerprint().environment == {
        "LD_PRELOAD": "libjemalloc.so",
        "MALLOC_TOP_PAD_": "1024",
        "OMP_NUM_THREADS": "3",
    }


# What the code was


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed tree of code and results that the fingerprint takes for its own."""
    for name in ("bench/cli.py", "sumnet/train.py", "results/README.md", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("first\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--no-gpg-sign", "-m", "first")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_commit_is_the_checkouts_and_clean(checkout: Path) -> None:
    found = fingerprint()
    assert git(checkout, "rev-parse", "HEAD").startswith(found.commit)
    assert len(found.commit) >= 10
    assert not found.dirty


@pytest.mark.parametrize("file", ["results/README.md", "results/box/run.json", "README.md", "x.py"])
def test_change_beside_the_code_is_not_dirty(checkout: Path, file: str) -> None:
    (checkout / file).parent.mkdir(exist_ok=True)
    (checkout / file).write_text("changed\n")
    assert not fingerprint().dirty


@pytest.mark.parametrize("file", ["bench/cli.py", "sumnet/train.py", "bench/new.py"])
def test_change_to_the_code_is_dirty_and_another_code(checkout: Path, file: str) -> None:
    before = fingerprint()
    (checkout / file).write_text("changed\n")
    after = fingerprint()
    assert (before.dirty, after.dirty) == (False, True)
    assert before.commit == after.commit
    assert before.code_hash != after.code_hash


def test_removed_code_is_dirty(checkout: Path) -> None:
    (checkout / "sumnet/train.py").unlink()
    assert fingerprint().dirty


def test_configuration_hides_no_change_to_the_code(checkout: Path) -> None:
    git(checkout, "config", "status.showUntrackedFiles", "no")
    git(checkout, "config", "color.ui", "always")
    assert not fingerprint().dirty
    (checkout / ".git/info/exclude").write_text("new.py\n")
    (checkout / "sumnet/new.py").write_text("")
    assert fingerprint().dirty


@pytest.mark.parametrize("bit", ["--assume-unchanged", "--skip-worktree"])
def test_bits_of_the_index_hide_no_change_to_the_code(checkout: Path, bit: str) -> None:
    git(checkout, "update-index", bit, "bench/cli.py")
    (checkout / "bench/cli.py").write_text("changed\n")
    assert fingerprint().dirty


def test_line_ends_that_git_converted_are_not_dirty(checkout: Path) -> None:
    git(checkout, "config", "core.autocrlf", "true")
    (checkout / "bench/cli.py").write_bytes(b"first\r\n")
    assert not fingerprint().dirty
    (checkout / "bench/cli.py").write_bytes(b"changed\r\n")
    assert fingerprint().dirty


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE"])
def test_variables_of_git_hide_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = fingerprint()
    monkeypatch.setenv(name, str(checkout / "elsewhere"))
    assert fingerprint() == before


def test_objects_may_be_named_by_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sumnet").mkdir()
    (tmp_path / "sumnet/train.py").write_text("first\n")
    git(tmp_path, "init", "--quiet", "--object-format=sha256")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--no-gpg-sign", "-m", "first")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert not fingerprint().dirty
    (tmp_path / "sumnet/train.py").write_text("changed\n")
    assert fingerprint().dirty


def test_code_hash_has_instrument_and_subject_apart(checkout: Path) -> None:
    instrument, subject = fingerprint().code_hash.split("-")
    (checkout / "sumnet/train.py").write_text("changed\n")
    assert fingerprint().code_hash.split("-")[0] == instrument
    assert fingerprint().code_hash.split("-")[1] != subject


def test_commit_is_unknown_outside_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = fingerprint()
    assert (found.commit, found.dirty) == ("unknown", False)
    assert commit_unknown() is None


def test_commit_is_unknown_in_another_projects_checkout(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "lib/sumnet").mkdir(parents=True)
    monkeypatch.setattr(machine, "ROOT", checkout / "lib")
    assert fingerprint().commit == "unknown"
    assert commit_unknown() is None


def test_commit_is_unknown_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit_unknown() is None
    (checkout / "bench/cli.py").write_text("changed\n")
    monkeypatch.setenv("PATH", str(checkout))
    found = fingerprint()
    assert (found.commit, found.dirty) == ("unknown", False)
    assert commit_unknown() == "cannot run git (No such file or directory): install it"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_git_says_why_it_does_not_read_what_another_user_owns(checkout: Path) -> None:
    for path in (checkout, checkout / ".git"):
        os.chown(path, 12345, 12345)
    assert fingerprint().commit == "unknown"
    why = commit_unknown()
    assert why is not None
    assert why.startswith(f"git cannot read the checkout in {checkout}: detected dubious ownership")
    assert f"git config --global --add safe.directory {checkout}" in why
