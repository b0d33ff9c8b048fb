"""What the numbers say to do: each sentence borne out by the table it stands under."""

from typing import Any

import pandas as pd

from bench.matrix.case import WHOLE, Case
from bench.roofline.advice import limits_advice
from tests.cases import sumnet


def row(case: Case, measured_ns: float, **terms: float) -> dict[str, Any]:
    """A case's limits; `terms` are overhead, bandwidth, compute and fused, nanoseconds."""
    known = {"overhead": 0.0, "bandwidth": 0.0, "compute": 0.0} | terms
    fused = known.pop("fused", 1000.0)
    bound = max(known, key=lambda name: known[name])
    return {
        "run": "ours",
        "case": case.id,
        **case.axes,
        "series": WHOLE,
        "samples": float(case.own_values["batch"]),
        "measured_ns": measured_ns,
        **{f"{name}_ns": value for name, value in known.items()},
        "limit_ns": known[bound],
        "bound": bound,
        "headroom": measured_ns / known[bound],
        "fused_ns": fused,
        "fused_headroom": measured_ns / fused,
    }


def advice(*rows: dict[str, Any]) -> list[str]:
    return limits_advice(pd.DataFrame(rows))


SMALL = row(sumnet(optimizer="adam"), 2e5, overhead=4e4, bandwidth=1e3, fused=2e3)


def test_without_a_limit_nothing_is_said() -> None:
    nothing = row(sumnet(), 1e5, overhead=1e4) | {"headroom": float("nan")}
    assert advice(nothing) == []


def test_overhead_names_the_options_with_fewer_operators_that_were_not_measured() -> None:
    (sentence,) = advice(SMALL)
    assert f"{sumnet(optimizer='adam').id} is bound by overhead" in sentence
    assert "take 0.5% of its time" in sentence
    assert sentence.endswith(
        "not measured with fewer operators: compile=on and implementation=fused."
    )
    (sentence,) = advice(row(sumnet(optimizer="lbfgs"), 2e5, overhead=4e4))
    assert sentence.endswith("of its time.")


def test_fewer_operators_that_were_measured_are_given_with_their_ratios() -> None:
    sentence, *_ = advice(
        SMALL,
        row(sumnet(optimizer="adam", implementation="fused"), 1.4e5, overhead=2e4),
        row(sumnet(optimizer="adam", compile="on"), 3e5, bandwidth=1e4),
    )
    assert sentence.endswith(
        "compile=on takes 1.50 times as long and implementation=fused takes 0.70 times as long."
    )


def test_another_batch_or_the_case_itself_is_no_twin() -> None:
    other = row(sumnet(optimizer="adam", implementation="fused", batch=64), 1e5, overhead=2e4)
    assert "not measured with" in advice(SMALL, other)[0]
    alone = row(sumnet(optimizer="adam", implementation="fused"), 1e5, overhead=2e4)
    assert advice(alone) == []


def test_case_of_several_runs_is_named_with_its_run() -> None:
    sentence, *_ = advice(
        SMALL, row(sumnet(optimizer="adam"), 1e5, overhead=4e4) | {"run": "theirs"}
    )
    assert sentence.startswith(f"{sumnet(optimizer='adam').id} in ours is bound by overhead")


def test_larger_batch_is_nearly_free_as_far_as_was_measured() -> None:
    rows = [
        row(sumnet(batch=batch), time, overhead=1e4)
        for batch, time in ((2, 1e5), (64, 1.1e5), (1024, 1.4e5), (16384, 5e5))
    ]
    sentence = advice(*rows)[1]
    assert f"{sumnet(batch=1024).id} takes 1.40 times as long as batch 2" in sentence
    assert "for 512 times the samples" in sentence


def test_bandwidth_bound_case_shows_what_fusing_does_to_the_limit() -> None:
    (sentence,) = advice(row(sumnet(batch=2**18), 8e6, bandwidth=1e6, fused=4e5))
    assert "takes 8 times its limit" in sentence
    assert "lower that limit 2.5-fold" in sentence
    (sentence,) = advice(row(sumnet(batch=2**18, compile="on"), 8e6, bandwidth=1e6, fused=1e6))
    assert "fusing" not in sentence


def test_compute_bound_case_shows_times_its_limit() -> None:
    (sentence,) = advice(row(sumnet(batch=2**18, hidden=4096, dtype="float16"), 2e6, compute=1e6))
    assert "it takes 2 times what its FLOP take at the peak of matmul" in sentence


def test_there_are_at_most_three() -> None:
    rows = [
        *(row(sumnet(batch=batch), 1e5, overhead=1e4) for batch in (2, 64)),
        row(sumnet(batch=2**18), 8e6, bandwidth=1e6, fused=4e5),
        row(sumnet(batch=2**18, hidden=4096), 2e6, compute=1e6),
    ]
    assert len(advice(*rows)) == 3
