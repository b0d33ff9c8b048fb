"""Cases of every kind, and machines they may meet, for hypothesis."""

from hypothesis import strategies as st

from bench.devices import DEVICES as KINDS
from bench.devices.facts import DeviceFacts, Facts
from bench.matrix.case import Case
from bench.matrix.compilation import COMPILATIONS
from bench.matrix.optimizers import IMPLEMENTATIONS, OPTIMIZERS
from bench.matrix.precision import PRECISIONS

DEVICES = st.sampled_from(list(KINDS)) | st.integers(0, 99).map("cuda:{}".format)

CASES = st.builds(
    Case,
    device=DEVICES,
    dtype=st.sampled_from(list(PRECISIONS)),
    batch=st.integers(1, 2**22),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    implementation=st.sampled_from(list(IMPLEMENTATIONS)),
    compile=st.sampled_from(list(COMPILATIONS)),
    hidden=st.integers(1, 4096),
    threads=st.integers(1, 1024),
)

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
