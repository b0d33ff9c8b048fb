"""Valid files of each kind and schema, small, that together have something in most fields.

`python -m tests.fuzz.seeds` writes them into the corpus anew, as after a change of the schema.
"""

from pathlib import Path
from typing import Any

import msgspec

from bench.machine.sampling import GpuHealth, Health, HostHealth
from bench.matrix.case import case_of
from bench.matrix.ceiling import COPY, MATMUL, NODE, OP, Ceiling
from bench.matrix.comparison import Comparison
from bench.records.gate_report import GateReport, SeriesVerdict
from bench.records.older import REPORT_SCHEMA, RUN_SCHEMA
from bench.records.run_file import RunRecord, encode
from bench.records.verdicts import REGRESSED, VERDICTS
from bench.runner.events import Event
from tests import synthetic
from tests.cases import GAN, TRAINER, sumnet
from tests.gate.gating import columns, record, records, report
from tests.records.test_older import as_it_was

CORPUS = Path(__file__).parent / "corpus"
COMPILED = sumnet(compile="on")
GPU = sumnet(device="cuda", batch=64)
CEILINGS = (
    Ceiling(OP),
    Ceiling(NODE),
    Ceiling(COPY, size=2**16),
    Ceiling(MATMUL, dtype="float32", size=512),
)
HEALTH = (
    Health(HostHealth(steal=0.3, others=1.5, load=2.5, mhz=2e3, max_mhz=3e3, governor="powersave")),
    Health(
        HostHealth(cpu_quota=0.5, throttled=0.2, throttled_s=1.0, temperature_c=60.0),
        GpuHealth(
            sm_mhz=1200,
            max_sm_mhz=1980,
            power_w=300.0,
            power_limit_w=700.0,
            throttle=("thermal",),
            ecc_errors=1,
            other_processes=1,
        ),
    ),
    Health(HostHealth(), GpuHealth(unavailable="no driver")),
)
FEW = synthetic.Moods(blocks=5)
"""Of the blocks of a replicate: no fewer count."""


def plain_run() -> RunRecord:
    return synthetic.run({sumnet(): 1e5}, replicates=1, moods=synthetic.Moods(blocks=1))


def full_run() -> RunRecord:
    return synthetic.run(
        {sumnet(): 1e5, COMPILED: 5e4},
        moods=FEW,
        profiles={sumnet(): synthetic.step_profile(), COMPILED: "not asked for"},
        energy={sumnet(): 3.0, COMPILED: "no counter"},
        ceilings=dict.fromkeys(CEILINGS, 1e4),
        health=HEALTH,
        compiled=[synthetic.compile_measured(COMPILED, 2.0, 0.5)],
    )


def gpu_run() -> RunRecord:
    gan, trainer = case_of(GAN, {}), case_of(TRAINER, {})
    moods = synthetic.Moods(blocks=2, speeds=(1.0, 2.0))
    found = synthetic.run(
        {GPU: 1e5, gan: 1e5, trainer: 1e5},
        replicates=2,
        moods=moods,
        profiles={GPU: synthetic.step_profile(busy_ns=5e4)},
        health=HEALTH,
        ended={gan: ("failed", "it broke")},
        without_phases={GPU: "unclear"},
    )
    return synthetic.measured_on(found, synthetic.GPU)


def journal() -> list[Event]:
    moods = synthetic.Moods(blocks=2)
    return synthetic.events(
        {sumnet(): 1e5},
        replicates=2,
        moods=moods,
        profiles={sumnet(): synthetic.step_profile()},
        energy={sumnet(): 3.0},
        ceilings={CEILINGS[0]: 1e4},
        health=HEALTH[:1],
        compiled=[synthetic.compile_measured(sumnet(), 2.0)],
    )


def aa_report() -> GateReport:
    """As many pairs as calibration needs."""
    pairs = [*records(columns(9, *[0.0] * 4)), *records(columns(2, *[0.0] * 4), control=True)]
    return report(pairs, [sumnet()])


def full_report() -> GateReport:
    comparison, other = Comparison(sumnet(), COMPILED), Comparison(GPU, GPU)
    found = report(
        [record([0.01] * 4), record([None] * 4, control=True)], comparisons=[comparison, other]
    )
    found.series = found.series[:4]
    found.pairs[0].peak_bytes = {comparison.id: (2**20, 2**21)}
    found.verdicts = [
        SeriesVerdict(
            comparison.id,
            name,
            word,
            reason="so",
            base_ns=1e5,
            effect=0.05,
            half=0.01,
            p_slower=0.001,
            p_faster=1.0,
            detectable=0.02,
            more_pairs=9,
        )
        for name, word in zip((*comparison.series, *comparison.series[:3]), VERDICTS, strict=True)
    ]
    found.verdicts.append(
        SeriesVerdict(comparison.id, "peak memory", REGRESSED, effect=0.5, base_bytes=2.0**20)
    )
    found.ended = {other.id: "killed on head: SIGKILL"}
    found.ended_as = {other.id: "failed"}
    found.without_phases = {other.id: "no phases on head: unclear"}
    found.without_memory = {other.id: "unknown"}
    found.nowhere = ["a step: it is broken"]
    found.sides[0].devices = {"cuda": synthetic.GPU}
    found.sides[0].environment = {"OMP_NUM_THREADS": "1"}
    found.outcome, found.reason, found.wall_s = REGRESSED, "", 100.0
    return found


def files() -> dict[str, bytes]:
    """Name to content."""
    run, verdicts = encode(plain_run()), msgspec.to_builtins(aa_report())
    header = synthetic.header([sumnet()], ceilings=[CEILINGS[0]])
    return {
        "run.json": _run(run),
        "run-full.json": _run(encode(full_run())),
        "run-gpu.json": _run(encode(gpu_run())),
        "run-older.json": _run(_older(run)),
        "run.journal": b"".join(msgspec.json.encode(e) + b"\n" for e in (header, *journal())),
        "report.json": msgspec.json.encode(verdicts),
        "report-full.json": msgspec.json.encode(full_report()),
        "report-older.json": msgspec.json.encode(_older_report(verdicts)),
    }


def _run(encoded: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"sumnet": encoded})


def _older(encoded: dict[str, Any]) -> dict[str, Any]:
    def case(found: Any) -> dict[str, Any]:
        return as_it_was(msgspec.to_builtins(found))

    plan = encoded["plan"] | {"cases": [case(found) for found in encoded["plan"]["cases"]]}
    cases = [found | {"case": case(found["case"])} for found in encoded["cases"]]
    return encoded | {"schema": RUN_SCHEMA, "plan": plan, "cases": cases}


def _older_report(encoded: dict[str, Any]) -> dict[str, Any]:
    compared = [
        {side: as_it_was(dict(case)) for side, case in pair.items()}
        for pair in encoded["comparisons"]
    ]
    return encoded | {"schema": REPORT_SCHEMA, "comparisons": compared}


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    for name, content in files().items():
        (CORPUS / name).write_bytes(content)
