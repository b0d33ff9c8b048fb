"""What goes with how a step is described, and what does not."""

from typing import Any

import pytest

from bench.devices.facts import DeviceFacts, Facts
from bench.matrix.case import case_of
from bench.matrix.step import StepDescription, Traits
from bench.matrix.support import TRAINING_COPIES, estimated_bytes, unsupported_reason

FACTS = Facts("2.13.0", 4, True, {"cpu": (DeviceFacts(memory_bytes=2**34),)})
LOSS = Traits(takes_dtype=False)
TYPED = Traits(takes_dtype=True)
OWN = Traits(own_optimizer=True)
PHASES = Traits(form="phases", phases=("load", "update"))
RUN = Traits(form="run", phases=())
SPARSE = Traits(sparse=True, matrices=True)


def reason(traits: Traits, **axes: Any) -> str | None:
    return unsupported_reason(case_of(StepDescription("mynet", traits=traits), axes), FACTS)


@pytest.mark.parametrize(
    ("traits", "axes"),
    [
        (LOSS, {}),
        (LOSS, {"optimizer": "lbfgs"}),
        (LOSS, {"dtype": "amp-bfloat16", "compile": "on"}),
        (TYPED, {"dtype": "float64"}),
        (OWN, {"dtype": "amp-float16", "compile": "loss"}),
        (PHASES, {}),
        (PHASES, {"dtype": "float64"}),
        (RUN, {"threads": 2}),
        (SPARSE, {"optimizer": "sparseadam"}),
        (Traits(matrices=True), {"optimizer": "muon"}),
    ],
)
def test_what_the_suite_can_do_for_a_step_runs(traits: Traits, axes: dict[str, Any]) -> None:
    assert reason(traits, **axes) is None


@pytest.mark.parametrize(
    ("traits", "axes", "words"),
    [
        (LOSS, {"dtype": "float64"}, ("mynet", "dtype")),
        (LOSS, {"optimizer": "own"}, ("mynet", "no optimizer of its own")),
        (LOSS, {"optimizer": "muon"}, ("Muon", "matrices")),
        (LOSS, {"optimizer": "sparseadam"}, ("SparseAdam", "sparse")),
        (OWN, {"optimizer": "sgd"}, ("mynet", "its own optimizer")),
        (OWN, {"implementation": "fused"}, ("mynet", "implementation")),
        (PHASES, {"optimizer": "adam"}, ("mynet", "loop of its own")),
        (PHASES, {"dtype": "amp-bfloat16"}, ("mynet", "autocast")),
        (RUN, {"compile": "on"}, ("mynet", "torch.compile")),
        (SPARSE, {"optimizer": "adam"}, ("Adam", "no sparse gradients")),
    ],
)
def test_what_it_cannot_do_is_refused_and_why(
    traits: Traits, axes: dict[str, Any], words: tuple[str, ...]
) -> None:
    said = reason(traits, **axes)
    assert said is not None
    assert [word for word in words if word not in said] == []


def test_of_a_users_step_the_parameters_are_known_and_copies_of_them_assumed() -> None:
    step = StepDescription("mynet", traits=Traits(parameter_bytes=2**32))
    case = case_of(step, {})
    assert estimated_bytes(case) == TRAINING_COPIES * 2**32
    said = unsupported_reason(case, FACTS)
    assert said is not None and "16.0 GiB" in said
