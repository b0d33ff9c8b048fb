"""Files: journals that survive what happens to them, run files that are whole or not there."""

import copy
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.errors import MachineError, UsageError
from bench.machine.sampling import GpuHealth, Health, HostHealth
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.records.assembly import assemble
from bench.records.older import RUN_SCHEMA
from bench.records.run_file import SCHEMA, CeilingRecord, Drift, RunRecord, encode
from bench.records.store import (
    Journal,
    latest_runs,
    load_run,
    read_journal,
    resume_state,
    write_run,
)
from bench.runner.events import (
    BlockImpossible,
    CaseEnded,
    Event,
    PhasesEnded,
    ReplicateDone,
    SessionEnded,
)
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import (
    EPOCH,
    Moods,
    case_prepared,
    ceiling_ready,
    compile_measured,
    verified,
    worker_started,
)

ROOT = Path(__file__).parents[2]
SGD = sumnet()
ADAM = sumnet(optimizer="adam")
COMPILED = sumnet(compile="on")
HEADER = synthetic.header([SGD, ADAM])
EVENTS = synthetic.events(
    {SGD: 1e5}, replicates=2, moods=Moods(blocks=2), ended={ADAM: ("failed", "it broke")}
)
RUN = assemble(HEADER, EVENTS)
OP, COPY = Ceiling("op"), Ceiling("copy", size=2**20)
WITH_CEILINGS = synthetic.run(
    {SGD: 1e5}, replicates=2, moods=Moods(blocks=2), ceilings={OP: 1e3, COPY: 5e4}
)


def journal_of(path: Path, events: list[Event]) -> Path:
    journal = Journal.create(path, HEADER)
    for event in events:
        journal.append(event)
    journal.close()
    return journal.path


def saved(path: Path, run: Any = RUN) -> Path:
    encoded = encode(run) if isinstance(run, RunRecord) else run
    path.write_bytes(msgspec.json.encode({"benchmarks": [], "sumnet": encoded}))
    return path


@pytest.fixture
def same_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20260102T030405Z")


# Journals


def test_journal_reads_back_as_it_was_written(tmp_path: Path) -> None:
    header, events = read_journal(journal_of(tmp_path, EVENTS))
    assert header == HEADER
    assert events == EVENTS


def test_what_is_appended_is_in_the_file_before_the_journal_is_closed(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, HEADER)
    for told, event in enumerate(EVENTS):
        assert read_journal(journal.path)[1] == EVENTS[:told]
        journal.append(event)
    journal.close()


def test_journal_lies_in_its_machines_folder_and_is_named_by_time_and_commit(
    tmp_path: Path, same_second: None
) -> None:
    path = journal_of(tmp_path / "new" / "results", [])
    folder = tmp_path / "new" / "results" / "test-cpu-4c-8gib"
    assert path == folder / "20260102T030405Z-0123456789.journal"
    changed = synthetic.header([SGD], synthetic.machine(dirty=True), ceilings=[OP])
    journal = Journal.create(tmp_path / "new" / "results", changed)
    journal.close()
    assert journal.path.name == "20260102T030405Z-0123456789-dirty.journal"


def test_journal_of_ceilings_alone_says_so_in_its_name(tmp_path: Path, same_second: None) -> None:
    names = []
    for _ in range(2):
        journal = Journal.create(tmp_path, synthetic.header([], ceilings=[OP]))
        journal.close()
        names.append(journal.path.name)
    assert names == [f"ceilings-20260102T030405Z-0123456789{n}.journal" for n in ("", "-2")]


def test_last_line_cut_off_anywhere_is_left_out_and_the_rest_kept(tmp_path: Path) -> None:
    path = journal_of(tmp_path, EVENTS)
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    assert len(content) - last > 10
    for length in range(last, len(content)):
        path.write_bytes(content[:length])
        assert read_journal(path) == (HEADER, EVENTS[:-1]), content[last:length]
    path.write_bytes(content)
    assert read_journal(path) == (HEADER, EVENTS)


def test_journal_cut_off_at_any_byte_keeps_every_whole_line(tmp_path: Path) -> None:
    path = journal_of(tmp_path, EVENTS[:4])
    content = path.read_bytes()
    for length in range(content.index(b"\n") + 1, len(content)):
        path.write_bytes(content[:length])
        assert read_journal(path)[1] == EVENTS[: content[:length].count(b"\n") - 1]


def test_journal_cut_off_anywhere_can_be_gone_on_with(tmp_path: Path) -> None:
    path = journal_of(tmp_path, EVENTS[:3])
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    for length in range(last, len(content) + 1):
        path.write_bytes(content[:length])
        journal, *_ = Journal.reopen(path)
        journal.append(EVENTS[-1])
        journal.close()
        whole = EVENTS[: 3 if length == len(content) else 2]
        assert read_journal(path) == (HEADER, [*whole, EVENTS[-1]])


def test_reopening_a_journal_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nowhere"):
        path = tmp_path / "nowhere.journal"
        Journal.reopen(path)


def test_a_journal_has_one_writer_at_a_time(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, HEADER)
    code = "import sys; from pathlib import Path; from bench.records.store import Journal\n"
    words = [sys.executable, "-c", f"{code}Journal.reopen(Path(sys.argv[1]))", str(journal.path)]
    second = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"another process is writing to {journal.path}" in second.stderr
    journal.close()  # as a process's end does
    third = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stderr


@pytest.mark.parametrize("where", ["case", "ceiling", "worker"])
def test_a_run_file_of_a_device_that_is_unknown_here_says_what_to_do(
    tmp_path: Path, where: str
) -> None:
    run = copy.deepcopy(RUN)
    if where == "case":
        run.cases[0].case = msgspec.structs.replace(run.cases[0].case, device="hpu:1")
    elif where == "ceiling":
        run.ceilings.append(CeilingRecord(Ceiling("op", "hpu:1")))
    else:
        run.workers[0].device = "hpu:1"
    path = saved(tmp_path / "run.json", run)
    with pytest.raises(UsageError, match=r"run\.json names the device 'hpu:1'.* measure again"):
        load_run(path)


def test_a_journal_of_a_device_that_is_unknown_here_says_what_to_do(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(HEADER.plan, cases=[sumnet(device="hpu")])
    journal = Journal.create(tmp_path, msgspec.structs.replace(HEADER, plan=plan))
    journal.close()
    for read in (load_run, read_journal):
        with pytest.raises(UsageError, match=r"names the device 'hpu'.* measure again"):
            read(journal.path)


@pytest.mark.parametrize(
    "garbage", [b"garbage", b'{"type":"Unknown"}', b"{}", b'{"type":"SittingStarted"', b"\xff\x00"]
)
def test_garbage_in_the_middle_is_refused_by_name(tmp_path: Path, garbage: bytes) -> None:
    path = journal_of(tmp_path, EVENTS)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:3], garbage, *lines[3:]]))
    with pytest.raises(UsageError, match=f"{path.name} is not a journal"):
        read_journal(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b'{"plan":', b"\xff\xfe", b"[1]\n"])
def test_file_that_does_not_begin_as_a_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.journal"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"odd\.journal is not a journal"):
        load_run(path)


def test_text_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    path = journal_of(tmp_path, EVENTS)
    path.write_bytes(path.read_bytes().replace(b"it broke", b"it \xffroke"))
    with pytest.raises(UsageError, match=f"{path.name} is not a journal"):
        read_journal(path)
    run_file = saved(tmp_path / "run.json")
    run_file.write_bytes(run_file.read_bytes().replace(b"it broke", b"it \xffroke"))
    with pytest.raises(UsageError, match=r"run\.json is cut off or is not JSON"):
        load_run(run_file)


def test_journal_where_no_folder_can_be_is_refused(tmp_path: Path) -> None:
    in_the_way = tmp_path / "results"
    in_the_way.write_text("a file")
    with pytest.raises(UsageError, match=r"cannot write results to .*--results") as caught:
        Journal.create(in_the_way, HEADER)
    assert caught.value.exit_status == 2
    assert in_the_way.read_text() == "a file"


def test_journals_of_the_same_second_do_not_share_a_name(tmp_path: Path, same_second: None) -> None:
    paths = [journal_of(tmp_path, [event]) for event in EVENTS[:3]]
    assert len(set(paths)) == 3
    assert [read_journal(path)[1] for path in paths] == [[event] for event in EVENTS[:3]]


def test_journal_keeps_clear_of_a_run_file_of_the_same_second(
    tmp_path: Path, same_second: None
) -> None:
    first = Journal.create(tmp_path, HEADER)
    write_run(first.run_path(), RUN, {})
    first.discard()
    second = Journal.create(tmp_path, HEADER)
    second.close()
    assert second.run_path() != first.run_path()
    assert load_run(first.run_path()) == RUN


def test_discarded_journal_is_gone(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, HEADER)
    journal.discard()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_is_the_machines_fault_and_closing_does_not_hide_it() -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(MachineError, match="cannot write /dev/full: No space left") as caught:
        journal.append(EVENTS[0])
    assert caught.value.exit_status == 4
    journal.close()


def test_journal_is_a_run_that_can_be_loaded(tmp_path: Path) -> None:
    assert load_run(journal_of(tmp_path, EVENTS)) == RUN
    assert not load_run(journal_of(tmp_path, EVENTS[:-1])).complete


def test_events_settle_what_a_further_session_need_not_do() -> None:
    events: list[Event] = [
        worker_started(0, EPOCH),
        case_prepared(0, SGD),
        ReplicateDone(0, 0),
        CaseEnded(ADAM.id, "failed", "it broke"),
        PhasesEnded(SGD.id, "unclear"),
        worker_started(1, EPOCH + 1),
        ReplicateDone(0, 1, 10.0),
        ReplicateDone(1, 0, 12.5),
        BlockImpossible(SGD.id),
        compile_measured(COMPILED, reason="no compiler"),
        ceiling_ready(2, OP),
        CaseEnded(COPY.id, "oom", "no room"),
    ]
    settled = resume_state(events)
    assert settled.ended == {ADAM.id, COPY.id}
    assert settled.without_phases == {SGD.id}
    assert settled.done == {(0, 0), (0, 1), (1, 0)}
    assert settled.samples == dict.fromkeys((SGD.id, OP.id), synthetic.SAMPLES)
    assert settled.impossible == {SGD.id: 1}
    assert settled.calls == {OP.id: synthetic.CALLS}
    assert settled.expected == {SGD.id: verified().expected}
    assert settled.compile_timed == {COMPILED.id}
    assert (settled.workers, settled.spent_s) == (2, 12.5)
    nothing = resume_state([SessionEnded(EPOCH)])
    assert (nothing.ended, nothing.done, nothing.samples, nothing.workers) == (set(), set(), {}, 0)
    assert (nothing.expected, nothing.compile_timed, nothing.calls) == ({}, set(), {})
    assert nothing.without_phases == set()


# Run files


def test_run_file_reads_back_beside_what_else_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_run(path, RUN, {"benchmarks": [{"name": "x"}]})
    assert load_run(path) == RUN
    assert msgspec.json.decode(path.read_bytes())["benchmarks"] == [{"name": "x"}]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("before", [None, b"the old file"])
def test_run_file_that_cannot_be_finished_leaves_things_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: bytes | None
) -> None:
    path = tmp_path / "run.json"
    if before is not None:
        path.write_bytes(before)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(MachineError, match=r"cannot write .*run\.json: No space") as caught:
            write_run(path, RUN, {})
    assert caught.value.exit_status == 4
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == (
        {} if before is None else {"run.json": before}
    )


def test_run_file_in_no_folder_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"cannot write .*: No such file or directory"):
        write_run(tmp_path / "gone" / "run.json", RUN, {})


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("gone.json", "gone.journal"):
        with pytest.raises(UsageError, match=f"cannot read .*{name}: No such file") as caught:
            load_run(tmp_path / name)
        assert caught.value.exit_status == 2
    with pytest.raises(UsageError, match=r"cannot read .*: it is a folder"):
        load_run(tmp_path)


def test_truncated_run_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = saved(tmp_path / "run.json")
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(UsageError, match=r"run\.json is cut off or is not JSON"):
            load_run(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"not JSON", "is cut off or is not JSON"),
        (b'{"benchmarks": []}', "is not a run file: it has no `sumnet` key"),
        (b'[{"sumnet": {}}]', "is not a run file: it has no `sumnet` key"),
        (b"7", "is not a run file: it has no `sumnet` key"),
        (b'{"sumnet": null}', "is not a run file: Expected `object`, got `null`"),
        (b'{"sumnet": []}', "is not a run file: Expected `object`, got `array`"),
        (b'{"sumnet": {}}', "is not a run file: .*missing required field `schema`"),
        (b'{"sumnet": {"schema": "1"}}', "is not a run file: Expected `int`, got `str`"),
    ],
)
def test_file_that_is_not_a_run_is_refused_by_name(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"odd\.json {complaint}"):
        load_run(path)


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_journal_of_another_schema_is_not_gone_on_with(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "run.journal"
    header = msgspec.structs.replace(HEADER, schema=schema)
    path.write_bytes(msgspec.json.encode(header) + b"\n")
    with pytest.raises(UsageError, match=rf"run\.journal .*schema {schema}\b.* {SCHEMA}\b"):
        read_journal(path)


@pytest.mark.parametrize("cases", [{SGD: 1e5}, {}])
def test_run_with_ceilings_profiles_energy_and_health_reads_back(
    tmp_path: Path, cases: dict[Case, float]
) -> None:
    run = synthetic.run(
        cases,
        moods=Moods(blocks=2),
        profiles=dict.fromkeys(cases, synthetic.step_profile(busy_ns=4e4)),
        energy=dict.fromkeys(cases, 12.5),
        ceilings={OP: 1e3, COPY: 5e4},
        health=[Health(HostHealth(steal=0.1), GpuHealth(throttle=("thermal",)))] * 3,
    )
    write_run(tmp_path / "run.json", run, {})
    assert load_run(tmp_path / "run.json") == run


@pytest.mark.parametrize("schema", [RUN_SCHEMA - 1, SCHEMA + 1])
def test_another_schema_is_refused_with_both(tmp_path: Path, schema: int) -> None:
    run = encode(RUN) | {"schema": schema, "cases": "in another shape"}
    path = saved(tmp_path / "run.json", run)
    with pytest.raises(UsageError, match=rf"run\.json .*schema {schema}\b.* {SCHEMA}\b"):
        load_run(path)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("cases", {}),
        ("machine", "here"),
        ("plan", None),
        ("sessions", [1]),
        ("floors_ns", {"a": 1.5}),
    ],
)
def test_wrong_type_is_refused_with_its_place(tmp_path: Path, key: str, wrong: Any) -> None:
    path = saved(tmp_path / "run.json", encode(RUN) | {key: wrong})
    with pytest.raises(UsageError, match=rf"run\.json is not a run file: .*\$\.{key}"):
        load_run(path)


def test_latest_runs_are_the_newest_of_each_machine(tmp_path: Path) -> None:
    for name in (
        "big/20260101T000000Z-aaaa.json",
        "big/20260301T000000Z-aaaa-dirty.json",
        "big/20260201T235959Z-ffff.json",
        "big/20260401T000000Z-aaaa.journal",
        "big/ceilings-20260501T000000Z-aaaa.json",
        "alone/ceilings-20260501T000000Z-aaaa.json",
        "big/floors.json",
        "small/20250101T000000Z-unknown.json",
        "small/floors.json",
        "empty/floors.json",
        "README.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [path.relative_to(tmp_path).as_posix() for path in latest_runs(tmp_path)] == [
        "big/20260301T000000Z-aaaa-dirty.json",
        "small/20250101T000000Z-unknown.json",
    ]
    assert latest_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda run: run.cases.clear(), "no cases"),
        (lambda run: setattr(run.cases[0], "case", sumnet(optimizer="gone")), "gone"),
        (lambda run: run.cases[0].blocks["train_step"].clear(), "no blocks of kind train_step"),
        (lambda run: run.cases[0].blocks["phases"][0].at_ms.pop(), "unequal length"),
        (lambda run: run.floors_ns.update(dispatch=0), "floor"),
        (lambda run: run.lowest_floors_ns.update(dispatch=-1), "floor"),
        (lambda run: run.drift.update(quiet=Drift(0.01, freedom=0.0)), "drift"),
    ],
)
def test_run_file_that_contradicts_itself_is_refused(
    tmp_path: Path, spoil: Callable[[RunRecord], object], complaint: str
) -> None:
    run = copy.deepcopy(RUN)
    spoil(run)
    path = saved(tmp_path / "edited.json", run)
    with pytest.raises(UsageError, match=complaint) as caught:
        load_run(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda record: record.blocks[0].at_ms.pop(), "unequal length"),
        (
            lambda record: record.blocks[1].readings_ns["memory"].append(5),
            "unequal length",
        ),
        (lambda record: record.blocks[0].p10_ns["ceiling"].pop(), "unequal length"),
        (
            lambda record: record.blocks[0].p10_ns.update(ceiling=[0] * 2),
            "times that are not positive",
        ),
        (lambda record: record.blocks[0].p90_ns.clear(), "lacks a series of ceiling"),
        (lambda record: record.blocks[0].readings_ns.clear(), "unequal length, or none"),
        (lambda record: setattr(record, "prepared", None), "has blocks, and not what"),
    ],
)
def test_run_file_with_damaged_ceilings_is_refused(
    tmp_path: Path, spoil: Callable[[CeilingRecord], object], complaint: str
) -> None:
    run = copy.deepcopy(WITH_CEILINGS)
    assert load_run(saved(tmp_path / "whole.json", run)) == WITH_CEILINGS
    spoil(run.ceilings[1])
    path = saved(tmp_path / "edited.json", run)
    with pytest.raises(UsageError) as caught:
        load_run(path)
    assert str(caught.value).startswith(f"{path} contradicts itself: {COPY.id} ")
    assert complaint in str(caught.value)


def test_run_file_with_a_ceiling_that_has_no_blocks_is_whole(tmp_path: Path) -> None:
    run = synthetic.run({SGD: 1e5}, ended={COPY: ("unsupported", "no such device here")})
    assert load_run(saved(tmp_path / "run.json", run)) == run
