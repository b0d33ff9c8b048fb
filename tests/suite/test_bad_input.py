"""Wrong usage: one message that names the value and what is allowed, status 2, nothing written."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from rich.console import Console

from bench.devices.facts import DeviceFacts, Facts
from bench.errors import UsageError
from bench.machine.fingerprint import Machine, fingerprint
from bench.machine.sampling import NOT_SAMPLED, GpuHealth
from bench.matrix.axes import AXES
from bench.matrix.ceiling import Ceiling
from bench.matrix.plan import Plan
from bench.matrix.presets import PRESETS
from bench.records.run_file import Header
from bench.records.store import Journal, read_journal
from bench.runner.coordinator import Coordinator
from bench.runner.events import Event, SessionStarted, WorkerStarted
from bench.suite import measurement
from bench.suite.measurement import Measurement, check_resumable
from bench.suite.plan import plan_from
from bench.suite.plugin import Suite
from tests import synthetic
from tests.cases import sumnet
from tests.suite.driving import (
    LEAST,
    SEED_CASE,
    asked,
    bench_run,
    finish,
    run_files,
    run_pytest,
    start,
    stub_config,
    the_error,
    written,
)

PHASES = "bench/suite/test_phases.py"
OTHER_AXES_WORDS = {"device": "tpu", "threads": "1025", "batch": "0", "hidden": "4097"}


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        plan_from(asked(*words))
    return str(caught.value)


LISTED = [axis for axis in AXES if axis != "workload"]


@pytest.mark.parametrize("axis", LISTED)
@pytest.mark.parametrize("text", ["wrong", "", "-1", "1.5", None])
def test_unknown_axis_value_is_named_beside_what_is_allowed(axis: str, text: str | None) -> None:
    word = OTHER_AXES_WORDS.get(axis, "Float32") if text is None else text
    message = refusal(f"--{axis}={word}")
    assert message == f"--{axis}: {word!r} is not a value; allowed: {AXES[axis].allowed}"


@pytest.mark.parametrize("axis", LISTED)
def test_one_wrong_value_in_a_list_refuses_the_list(axis: str) -> None:
    message = refusal(f"--{axis}={AXES[axis].default},wrong")
    assert message.startswith(f"--{axis}: 'wrong' ")


@pytest.mark.parametrize("name", ["Quick", "everything", ""])
def test_unknown_preset_is_named_beside_the_presets(name: str) -> None:
    message = refusal(f"--preset={name}")
    assert message == f"--preset: {name!r} is not one of {', '.join(PRESETS)}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it has 1 parts, not 8; an id looks like cpu/"),
        ("cpu/float32", "it has 2 parts, not 8; an id looks like cpu/"),
        (SEED_CASE + "/x", "it has 9 parts, not 8"),
        (SEED_CASE.replace("b2", "2"), "'2' should start with 'b'"),
        (SEED_CASE.replace("sgd", "sdg"), "--optimizer: 'sdg' is not a value; allowed: sgd, "),
        (SEED_CASE.replace("t1", "t0"), "--threads: '0' is not a value; allowed: a whole number"),
        (SEED_CASE.replace("b2", "b02"), "--batch: '02' is not a value"),
    ],
)
def test_malformed_case_id_says_which_part_is_wrong(text: str, complaint: str) -> None:
    message = refusal(f"--case={text}")
    assert message.startswith(f"{text!r} is not a case id: ")
    assert complaint in message


@pytest.mark.parametrize("other", ["--preset=seed", "--batch=2"])
def test_case_by_id_goes_with_no_other_selection(other: str) -> None:
    message = refusal(f"--case={SEED_CASE}", other)
    assert message.endswith(f"drop {other.partition('=')[0]}")


NUMBERS = {
    "replicates": ("a whole number from 1 to 1000", ["0", "1001", "-1", "2.5", "x", ""]),
    "budget": ("a number of seconds from 0 to 604800", ["-1", "nan", "inf", "604801", "x", ""]),
    "order-seed": ("a whole number from 0 to", ["-1", "1e3", "x", ""]),
    "lr": ("a number from 1e-30 to 1e+30", ["0", "-0.1", "nan", "inf", "x", ""]),
}


@pytest.mark.parametrize(
    ("option", "text"), [(name, text) for name, (_, texts) in NUMBERS.items() for text in texts]
)
def test_number_out_of_range_is_named_beside_the_range(option: str, text: str) -> None:
    allowed, _ = NUMBERS[option]
    assert refusal(f"--{option}={text}").startswith(f"--{option}: {text!r} is not {allowed}")


@pytest.mark.parametrize("text", ["Steady", "quiet", ""])
def test_unknown_environment_is_named_beside_the_environments(text: str) -> None:
    message = refusal(f"--environment={text}")
    assert message == f"--environment: {text!r} is not one of stock, steady"


@pytest.mark.parametrize("axis", ["device", "dtype", "threads"])
def test_unknown_axis_value_of_ceilings_is_named_beside_what_is_allowed(axis: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(f"--{axis}=wrong", front="ceilings")
    assert str(caught.value) == f"--{axis}: 'wrong' is not a value; allowed: {AXES[axis].allowed}"


@pytest.mark.parametrize("text", ["some", "ALL", "all,none", ""])
def test_unknown_choice_of_compile_times_is_named_beside_the_choices(text: str) -> None:
    message = refusal(f"--compile-times={text}")
    assert message == f"--compile-times: {text!r} is not one of all, none"


def test_tests_in_parallel_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def configure(**others: Any) -> None:
        Suite(Measurement(Plan([], 1, 0), Path())).pytest_configure(stub_config(**others))

    with pytest.raises(pytest.UsageError, match=r"in parallel .*: drop -n"):
        configure(numprocesses=2)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with pytest.raises(pytest.UsageError, match=r"in parallel .*: drop -n"):
        configure()


def journal_of(path: Path, machine: Machine) -> Path:
    header = Header(Plan([], replicates=1, budget_s=0), machine)
    path.write_bytes(msgspec.json.encode(header) + b"\n")
    return path


@pytest.mark.parametrize(
    ("fact", "value", "shown"),
    [
        ("name", "another", "machine another-"),
        ("identity", "f" * 16, "-ffffff"),
        ("torch", "another", "torch another"),
        ("python", "another", "python another"),
        ("code_hash", "another", "code another"),
        ("cpu_quota", 0.25, "CPU quota 0.25 cores"),
    ],
)
def test_journal_of_another_machine_software_or_code_is_not_resumed(
    tmp_path: Path, fact: str, value: object, shown: str
) -> None:
    other = msgspec.structs.replace(fingerprint(), **{fact: value})
    journal = journal_of(tmp_path / "run.journal", other)
    with pytest.raises(UsageError) as caught:
        check_resumable(journal, read_journal(journal)[0])
    for part in (str(journal), shown, "start a new run"):
        assert part in str(caught.value)


def test_journal_of_this_machine_and_code_is_resumed(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "run.journal", fingerprint())
    header, events = read_journal(journal)
    check_resumable(journal, header)
    assert (header.plan.replicates, events) == (1, [])


def interrupted(folder: Path, facts: Facts) -> Path:
    """The journal of a run that a worker with these facts began to measure on cuda."""
    plan = Plan([sumnet(), sumnet(device="cuda")], replicates=3, budget_s=0)
    journal = Journal.create(folder, Header(plan, fingerprint()))
    for event in session(facts):
        journal.append(event)
    journal.close()
    return journal.path


def session(facts: Facts, device: str = "cuda", worker: int = 0) -> list[Event]:
    told = synthetic.worker_started(worker, synthetic.EPOCH + 1, (), device)
    hello = msgspec.structs.replace(told.hello, facts=facts)
    return [SessionStarted(synthetic.EPOCH), msgspec.structs.replace(told, hello=hello)]


def tell(monkeypatch: pytest.MonkeyPatch, events: list[Event]) -> None:
    """Have a measurement see these events."""

    class Told:
        def __init__(self, plan: Plan, on_event: Callable[[Event], None], **_: object) -> None:
            self.on_event = on_event

        def measure(self) -> None:
            for event in events:
                self.on_event(event)

    monkeypatch.setattr(measurement, "Coordinator", Told)


def facts_with(gpu: DeviceFacts) -> Facts:
    torch_here = fingerprint().torch
    return msgspec.structs.replace(
        synthetic.FACTS, torch=torch_here, devices={**synthetic.FACTS.devices, "cuda": (gpu,)}
    )


def test_a_device_that_is_lost_after_a_run_was_resumed_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = facts_with(DeviceFacts(name="A GPU", identity="a" * 12))
    gone = facts_with(DeviceFacts(unavailable="it fell off the bus"))
    journal = interrupted(tmp_path, there)
    second = [event for event in session(gone, "cpu", 2) if isinstance(event, WorkerStarted)]
    tell(monkeypatch, [*session(there, "cpu", 1), *second])
    header, _ = read_journal(journal)
    run = Measurement(header.plan, tmp_path, resume=journal).measured(Console(file=io.StringIO()))
    assert len(run.workers) == 3, "that of the first session and both of this one"


@pytest.mark.parametrize(
    ("gpu", "here"),
    [
        (DeviceFacts(name="A GPU", identity="b" * 12), "A GPU-bbbbbb"),
        (DeviceFacts(name="Another", identity="a" * 12), "Another-aaaaaa"),
        (DeviceFacts(unavailable="torch sees none"), "none: torch sees none"),
    ],
)
def test_run_is_not_resumed_on_another_device_and_loses_nothing(
    gpu: DeviceFacts, here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = facts_with(DeviceFacts(name="A GPU", identity="a" * 12))
    journal = interrupted(tmp_path, first)
    # Its first worker measures on the CPU, and knows the GPU that others will measure on.
    tell(monkeypatch, session(first, "cpu", 1))
    console = Console(file=io.StringIO())
    header, before = read_journal(journal)
    run = Measurement(header.plan, tmp_path, resume=journal).measured(console)
    assert run.devices["cuda"].identity == "a" * 12
    tell(monkeypatch, session(facts_with(gpu), "cpu", 2))
    with pytest.raises(UsageError) as caught:
        Measurement(header.plan, tmp_path, resume=journal).measured(console)
    for part in ("cannot resume: on cuda ", "A GPU-aaaaaa", f"that is {here};", "start a new run"):
        assert part in str(caught.value)
    _, after = read_journal(journal)
    assert after[: len(before)] == before
    assert sum(isinstance(event, WorkerStarted) for event in after) == 2, "not of the refused one"


def test_health_of_a_gpu_is_asked_for_where_one_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    amd = facts_with(DeviceFacts(name="AMD Instinct MI300X", platform="ROCm 6.4"))
    missing = facts_with(DeviceFacts(unavailable="torch sees none"))
    sampled = GpuHealth(unavailable=NOT_SAMPLED)
    for facts, device, seen in (
        (amd, "cuda", sampled),
        (amd, "cpu", None),
        (missing, "cuda", None),
    ):
        tell(monkeypatch, session(facts, device))
        plan = Plan([sumnet(device=device)], replicates=1, budget_s=0)
        run = Measurement(plan, tmp_path).measured(Console(file=io.StringIO()))
        assert [sample.health.gpu for sample in run.health] == [seen]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot read {}: No such file or directory"),
        (b"", "{} is not a journal of this suite: "),
        (b"neither JSON nor a journal\n", "{} is not a journal of this suite: "),
        (b'{"benchmarks": []}\n', "{} is not a journal of this suite: "),
        (b"\xff\xfe\x00\n", "{} is not a journal of this suite: "),
    ],
)
def test_what_is_not_a_journal_is_not_resumed(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "run.journal"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_journal(path)
    assert str(caught.value).startswith(complaint.format(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch=0"], "--batch: '0' is not a value; allowed: a whole number from 1 to 4194304"),
        (["--benchmark-timer=time.time"], "--benchmark-timer has no meaning here: durations come"),
        (["-k", "nothing"], "-k 'nothing' selects no case"),
        (["--compile-times=some"], "--compile-times: 'some' is not one of all, none"),
        (["--lr=fast"], "--lr: 'fast' is not a number from 1e-30 to 1e+30"),
        (["--profile", "--resume=gone.journal"],
         "--resume finishes a run as it was planned: drop --preset, --profile, --results"),
        (["--benchmark-skip"], "nothing was measured: every test was skipped, or failed, before"),
        (["--frobnicate"], "no such option: --frobnicate; `run --help` lists them"),
        (["-n", "2"], "no such option: -n; `run --help` lists them"),
        (["--benchmark-columns", "min,max"], "'min,max' is not a case id"),
    ],
)  # fmt: skip
def test_wrong_word_ends_the_command_with_one_message(
    tmp_path: Path, words: list[str], message: str
) -> None:
    ran = bench_run("--preset=seed", f"--results={tmp_path / 'results'}", *words)
    assert ran.returncode == 2
    assert the_error(ran.stderr).startswith(message)
    assert "Traceback" not in ran.stdout
    assert not (tmp_path / "results").exists()


def test_pytests_own_front_refuses_with_the_same_message(tmp_path: Path) -> None:
    ran = run_pytest(PHASES, "--environment=quiet", f"--results={tmp_path}")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert the_error(ran.stderr) == "--environment: 'quiet' is not one of stock, steady"
    assert written(tmp_path) == []


@pytest.mark.parametrize(
    ("verb", "plan", "message"),
    [
        (
            "run",
            Plan([], replicates=1, budget_s=0, ceilings=[Ceiling("op")]),
            "the journal has no cases: finish it with `ceilings --resume`",
        ),
        (
            "ceilings",
            Plan([sumnet()], replicates=1, budget_s=0),
            "the journal has no ceilings: finish it with `run --resume`",
        ),
    ],
)
def test_journal_that_another_verb_finishes_is_refused_and_kept(
    tmp_path: Path, verb: str, plan: Plan, message: str
) -> None:
    journal = tmp_path / "run.journal"
    journal.write_bytes(msgspec.json.encode(Header(plan, fingerprint())) + b"\n")
    before = journal.read_bytes()
    ran = finish(start("bench", verb, "--resume", journal))
    assert ran.returncode == 2
    assert the_error(ran.stderr) == message
    assert journal.read_bytes() == before


def test_unreadable_journal_ends_the_command_with_one_message(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.journal"
    garbage.write_text("not a journal\n")
    ran = bench_run("--resume", garbage)
    assert ran.returncode == 2
    assert the_error(ran.stderr).startswith(f"{garbage} is not a journal of this suite: ")
    assert garbage.read_text() == "not a journal\n"


def test_file_in_place_of_the_results_folder_is_refused_before_measuring(tmp_path: Path) -> None:
    place = tmp_path / "results"
    place.write_text("mine")
    ran = bench_run("--preset=seed", f"--results={place}")
    assert ran.returncode == 2
    message = the_error(ran.stderr)
    assert message.startswith(f"cannot write results to {place}/")
    assert message.endswith("name another folder with --results")
    assert place.read_text() == "mine"


@pytest.mark.slow
def test_named_cases_that_cannot_run_here_each_have_a_reason(tmp_path: Path) -> None:
    crowded = SEED_CASE.replace("t1", "t1024")
    fused = SEED_CASE.replace("default", "fused").replace("compile-off", "compile-on")
    ran = bench_run(SEED_CASE, crowded, fused, *LEAST, f"--results={tmp_path}")
    assert ran.returncode == 2
    first, *reasons = the_error(ran.stderr).splitlines()
    assert first == "cannot run here:"
    assert [reason.split(": ")[0].strip() for reason in reasons] == [crowded, fused]
    assert "needs 1024 cores, one per thread; this process may use" in reasons[0]
    assert "captures nothing of a fused optimizer step" in reasons[1]
    assert written(tmp_path) == []
    assert "Exit" not in ran.stdout + ran.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.slow
def test_selection_of_which_nothing_can_run_here_is_refused(tmp_path: Path) -> None:
    ran = bench_run("--preset=seed", "--device=cuda", *LEAST, f"--results={tmp_path}")
    assert ran.returncode == 2
    message = the_error(ran.stderr)
    assert message.startswith("nothing asked for can run here:\n  cuda/float32/b2/sgd/")
    assert message.endswith("sees no cuda device here")
    assert written(tmp_path) == []


@pytest.mark.slow
def test_copy_that_cannot_be_written_costs_the_run_nothing(tmp_path: Path) -> None:
    results, copy = tmp_path / "results", tmp_path / "missing" / "copy.json"
    words = (f"--results={results}", f"--benchmark-json={copy}")
    ran = bench_run("--preset=seed", *LEAST, *words)
    assert ran.returncode == 4
    assert the_error(ran.stderr) == f"cannot write {copy}: No such file or directory"
    (file,) = run_files(results)
    assert f"Run file: {file}" in ran.stdout


def test_worker_with_another_torch_than_the_installed_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times would be filed under a torch that did not make them."""
    here = msgspec.structs.replace(fingerprint(), torch="2.12.0+cpu")
    monkeypatch.setattr(measurement, "fingerprint", lambda own: here)
    with pytest.raises(UsageError, match=r"load torch .*, and torch 2\.12\.0\+cpu is"):
        Measurement(Plan([sumnet()], replicates=1, budget_s=0), tmp_path).measured(
            Console(quiet=True)
        )
    assert list(tmp_path.rglob("*.journal")) == []


def test_run_prints_once_why_it_names_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Coordinator, "measure", lambda self: None)
    printed = io.StringIO()
    console = Console(file=printed)
    measured = Measurement(Plan([], replicates=1, budget_s=0), tmp_path).measured
    assert measured(console).machine.commit == "unknown"
    assert printed.getvalue() == (
        "the run file names no commit: cannot run git (No such file or directory): install it\n"
    )
