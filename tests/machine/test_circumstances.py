"""Which runs compare: one definition."""

import pytest

from bench.machine.circumstances import (
    DEVICES,
    EVERYTHING,
    MACHINE,
    PLACE,
    PLAN,
    VARIABLES,
    MeasuredDevice,
    circumstances,
    differences,
    key,
    measured_devices,
)
from tests import synthetic
from tests.cases import sumnet
from tests.synthetic import FACTS, GPU, OTHER_GPUS, measured_on

SGD, ADAM = sumnet(), sumnet(optimizer="adam")
CUDA, SECOND = sumnet(device="cuda"), sumnet(device="cuda:1")


def test_runs_of_one_place_differ_in_nothing() -> None:
    first, second = synthetic.run({SGD: 1e5}), synthetic.run({SGD: 2e5})
    assert differences((first, second), (*EVERYTHING, *PLAN)) == {}
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
    assert differences((before, after), names) == {
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
    assert set(differences(runs, MACHINE)) == {"machine"}


def test_header_of_a_journal_has_the_circumstances_of_its_run() -> None:
    run = synthetic.run({SGD: 1e5})
    header = synthetic.header([SGD], replicates=3)
    assert circumstances(header, PLACE) == circumstances(run, PLACE)


# Devices


@pytest.mark.parametrize("other", OTHER_GPUS, ids=str)
def test_runs_of_other_devices_of_one_name_differ(other: MeasuredDevice) -> None:
    runs = [measured_on(synthetic.run({CUDA: 1e5}), device) for device in (GPU, GPU, other)]
    assert differences(runs[:2], PLACE) == {}
    assert differences(runs, PLACE) == {"cuda": (str(GPU), str(GPU), str(other))}
    assert key(runs[0], PLACE) == key(runs[1], PLACE) != key(runs[2], PLACE)


def test_devices_of_runs_that_know_only_their_names_go_by_those() -> None:
    old, same, other = (
        measured_on(synthetic.run({CUDA: 1e5}), MeasuredDevice(name)) for name in "AAB"
    )
    assert key(old, DEVICES) == key(same, DEVICES) == (("cuda", "A"),)
    assert differences((old, other), DEVICES) == {"cuda": ("A", "B")}


def test_run_of_the_cpu_alone_does_not_differ_from_one_with_a_device_beside() -> None:
    alone, beside = (
        synthetic.run({SGD: 1e5}),
        measured_on(synthetic.run({SGD: 1e5, CUDA: 1e5}), GPU),
    )
    assert circumstances(alone, DEVICES) == {}
    assert circumstances(beside, DEVICES) == {"cuda": "Test GPU-aaaaaa (CUDA 13.0)"}
    assert differences((alone, beside), PLACE) == {}


def test_two_devices_of_one_machine_are_two_circumstances() -> None:
    run = measured_on(synthetic.run({CUDA: 1e5, SECOND: 1e5}), GPU)
    measured_on(run, OTHER_GPUS[1], "cuda:1")
    assert circumstances(run, DEVICES) == {
        "cuda": "Test GPU-aaaaaa (CUDA 13.0)",
        "cuda:1": "Test GPU-bbbbbb (CUDA 13.0)",
    }
    elsewhere = measured_on(synthetic.run({CUDA: 1e5}), OTHER_GPUS[0])
    assert differences((run, elsewhere), DEVICES) == {"cuda": (str(GPU), str(OTHER_GPUS[0]))}
    alone = synthetic.run({SGD: 1e5})
    assert differences((run, alone, elsewhere), DEVICES) == {
        "cuda": (str(GPU), "not measured", str(OTHER_GPUS[0]))
    }


def test_the_order_in_which_devices_were_used_is_no_circumstance() -> None:
    run, other = (synthetic.run({CUDA: 1e5, SECOND: 1e5}) for _ in range(2))
    other.workers.reverse()
    assert list(run.devices) != list(other.devices)
    assert key(run, DEVICES) == key(other, DEVICES)


def test_devices_of_a_worker_are_those_that_can_be_measured_besides_the_cpu() -> None:
    found = measured_devices(FACTS, ("cpu", "cuda", "mps"))
    assert found == {"cuda": MeasuredDevice("Test GPU")}
    assert (str(found["cuda"]), GPU.model) == ("Test GPU", "Test GPU (CUDA 13.0)")
