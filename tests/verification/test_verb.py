"""What verifying showed: a line a case, a count, and an exit status of 1 for failures."""

import re

from bench.matrix.case import Case
from bench.matrix.default_step import Catalogue
from bench.protocol.messages import Refused
from bench.protocol.verified import Expected, Graphs
from bench.verification.verb import outcome_text, verify
from tests.cases import sumnet
from tests.synthetic import verified

SGD = sumnet()
CROWDED = sumnet(threads=1024)
OVERFLOWING = sumnet(dtype="float16", optimizer="adam")
"""Its second moments are beyond what float16 holds."""


def test_verified_case_shows_its_loss_its_products_and_its_path() -> None:
    seen = verified(
        expected=Expected(32.0, 1e-6, ratio=0.2416, tolerance=0.0312),
        ratio=0.24159,
        products="bfloat16",
        path="fused",
    )
    assert outcome_text(seen) == (
        "verified: loss ratio 0.2416 (0.2416 ± 0.03 expected); bfloat16, fused"
    )


def test_compiled_case_shows_its_graphs_and_breaks() -> None:
    graphs = Graphs(loss=1, step=2, recompiled=0, breaks=("a hook", "a hook"), skips=0)
    assert outcome_text(verified(graphs=graphs)).endswith(", for-loop, 1 + 2 graphs, 2 breaks")


def test_refused_case_shows_its_status_and_reason() -> None:
    assert outcome_text(Refused("a", "oom", "it is too large")) == "oom: it is too large"


def verified_lines(*cases: Case) -> tuple[int, list[str]]:
    lines: list[str] = []
    return verify(cases, Catalogue(), lines.append), lines


def test_each_case_is_a_line_in_order_and_a_last_line_counts() -> None:
    status, lines = verified_lines(SGD, CROWDED, sumnet(dtype="float64"))
    assert status == 0
    assert [line.split("  ")[0] for line in lines[:3]] == [
        SGD.id,
        CROWDED.id,
        sumnet(dtype="float64").id,
    ]
    fell = r"verified: loss ratio 0\.\d+ \(0\.\d+ ± \S+ expected\); {}, for-loop"
    assert re.fullmatch(fell.format("float32"), lines[0].split("  ")[1])
    assert lines[1].split("  ")[1].startswith("unsupported: needs 1024 cores, one per thread; ")
    assert re.fullmatch(fell.format("float64"), lines[2].split("  ")[1])
    assert lines[3:] == ["2 verified, 1 unsupported"]


def test_case_that_does_not_train_ends_with_1() -> None:
    status, lines = verified_lines(OVERFLOWING, SGD)
    assert status == 1
    assert lines[0] == f"{OVERFLOWING.id}  invalid: the loss is nan after 20 steps"
    assert lines[1].startswith(f"{SGD.id}  verified: ")
    assert sorted(lines[2].split(", ")) == ["1 invalid", "1 verified"]
