"""Cases of every kind, and machines they may meet, for hypothesis."""

from hypothesis import strategies as st

from bench.devices import DEVICES as KINDS
from bench.devices.facts import DeviceFacts, Facts
from bench.figures import LARGEST
from bench.matrix.axes import AXES
from bench.matrix.case import Case, case_of
from bench.matrix.compilation import COMPILATIONS
from bench.matrix.default_step import DEFAULT
from bench.matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from bench.matrix.precision import PRECISIONS
from bench.matrix.step import OwnAxis, StepDescription, Traits
from sumnet.steps import TEXT
from tests.cases import sumnet

DEVICES = st.sampled_from(list(KINDS)) | st.integers(0, 99).map("cuda:{}".format)

OWN = st.fixed_dictionaries({"batch": st.integers(1, 2**22), "hidden": st.integers(1, 4096)})
SUITES = {
    "device": DEVICES,
    "dtype": st.sampled_from(list(PRECISIONS)),
    "optimizer": st.sampled_from(list(OPTIMIZERS)),
    "implementation": st.sampled_from(list(IMPLEMENTATIONS)),
    "compile": st.sampled_from(list(COMPILATIONS)),
    "threads": st.integers(1, 1024),
}
CASES = st.builds(lambda own, suites: sumnet(**own, **suites), OWN, st.fixed_dictionaries(SUITES))
"""Of the default step."""

WORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
NAMES = WORDS.filter(lambda name: name not in {*AXES, DEFAULT.name})
VALUES = st.one_of(
    st.lists(st.integers(-LARGEST[int], LARGEST[int]), min_size=1, unique=True),
    st.lists(st.floats(-LARGEST[float], LARGEST[float]), min_size=1, unique=True),
    st.lists(st.from_regex(TEXT, fullmatch=True), min_size=1, unique=True),
    st.lists(st.booleans(), min_size=1, unique=True),
).map(tuple)
DESCRIPTIONS = st.builds(
    lambda name, axes, traits: StepDescription(
        name, tuple(OwnAxis(axis, values, short=axis) for axis, values in axes.items()), traits
    ),
    NAMES,
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.sampled_from(
        [
            Traits(),
            Traits(own_optimizer=True, takes_dtype=False),
            Traits(form="phases", phases=("load", "update"), sparse=True),
            Traits(form="run", phases=(), parameter_bytes=2**20),
        ]
    ),
)
"""Steps of users'."""


@st.composite
def own_cases(draw: st.DrawFn) -> tuple[StepDescription, Case]:
    """A user's step, and a case of it."""
    step = draw(DESCRIPTIONS)
    own = {axis.name: draw(st.sampled_from(axis.values)) for axis in step.axes}
    suites = {name: draw(values) for name, values in SUITES.items() if name != "optimizer"}
    return step, case_of(step, own | suites)


REASONS = st.none() | st.text(min_size=1)

DEVICE_FACTS = st.builds(
    DeviceFacts,
    unavailable=REASONS,
    memory_bytes=st.integers(0, 2**40),
    refused_dtypes=st.dictionaries(st.sampled_from(list(PRECISIONS)), st.text(min_size=1)),
    compile_refusal=REASONS,
)

FACTS = st.builds(
    Facts,
    torch=st.just("2.13.0"),
    cores=st.integers(1, 1024),
    isolates_compiled=st.booleans(),
    devices=st.fixed_dictionaries(
        {
            kind: st.lists(DEVICE_FACTS, min_size=1, max_size=16).map(tuple)
            if features.indexed
            else st.tuples(DEVICE_FACTS)
            for kind, features in KINDS.items()
        }
    ),
)
