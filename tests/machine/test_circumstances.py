"""Which runs compare: one definition."""

import pytest

from bench.machine.circumstances import (
    EVERYTHING,
    MACHINE,
    PLACE,
    PLAN,
    VARIABLES,
    circumstances,
    differences,
    key,
)
from bench.matrix.case import Case
from tests import synthetic

SGD, ADAM = Case(), Case(optimizer="adam")


def test_runs_of_one_place_differ_in_nothing() -> None:
    first, second = synthetic.run({SGD: 1e5}), synthetic.run({SGD: 2e5})
    assert differences(first, second, (*EVERYTHING, *PLAN)) == {}
    assert key(first, PLACE) == key(second, PLACE)


def test_differences_name_both_values() -> None:
    before, after = (
        synthetic.run({SGD: 1e5}, on=synthetic.machine(**changed))
        for changed in (
            {"environment": {"OMP_PROC_BIND": "true"}},
            {"torch": "2.14.0", "commit": "abcdef0123", "dirty": True},
        )
    )
    after.plan.cases.append(ADAM)
    names = ("commit", "torch", "python", "cases in the plan", *VARIABLES)
    assert differences(before, after, names) == {
        "commit": ("0123456789", "abcdef0123-dirty"),
        "torch": ("2.13.0", "2.14.0"),
        "cases in the plan": ("1", "2"),
        "OMP_PROC_BIND": ("true", "not set"),
    }


def test_order_of_cases_is_no_difference() -> None:
    first, second = synthetic.run({SGD: 1e5, ADAM: 1e5}), synthetic.run({ADAM: 1e5, SGD: 1e5})
    assert key(first, PLAN) == key(second, PLAN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"identity": "a" * 16}, {"identity": "b" * 16}),
        ({"identity": "a" * 16}, {}),
        ({"name": "other"}, {}),
    ],
)
def test_machines_differ_by_identity_and_without_one_by_name(
    one: dict[str, str], other: dict[str, str]
) -> None:
    runs = [synthetic.run({SGD: 1e5}, on=synthetic.machine(**each)) for each in (one, other)]
    assert set(differences(*runs, MACHINE)) == {"machine"}


def test_header_of_a_journal_has_the_circumstances_of_its_run() -> None:
    run = synthetic.run({SGD: 1e5})
    header = synthetic.header([SGD], replicates=3)
    assert circumstances(header, PLACE) == circumstances(run, PLACE)
