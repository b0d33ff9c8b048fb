"""Cases of every kind, for hypothesis."""

from hypothesis import strategies as st

from bench.matrix.case import Case
from sumnet.optimizers import IMPLEMENTATIONS, OPTIMIZERS

DEVICES = st.sampled_from(["cpu", "mps", "cuda"]) | st.integers(0, 99).map("cuda:{}".format)

CASES = st.builds(
    Case,
    device=DEVICES,
    dtype=st.sampled_from(["float32", "float64", "bfloat16"]),
    batch=st.integers(1, 2**22),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    implementation=st.sampled_from(IMPLEMENTATIONS),
    compile=st.sampled_from(["off", "on"]),
    hidden=st.integers(1, 4096),
    threads=st.integers(1, 1024),
)
