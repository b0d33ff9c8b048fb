"""Fuzz the readers of files: `python tests/fuzz/fuzz_records.py tests/fuzz/corpus OPTIONS`.

The options are libFuzzer's. What it finds ends it with a traceback, and lies in a file crash-*,
timeout-* or oom-*. SHOWN in the environment is the share of accepted files that are shown, each by
one verb: 1 by default, and less for more executions, as to show takes a thousand times longer.
"""

import os
import resource
import sys
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

import atheris

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(include=["bench"]):
    from tests.fuzz.mutator import mutated
    from tests.fuzz.target import Target

SECONDS = 2
GROWTH_MB = 200
SHOWN = float(os.environ.get("SHOWN", "1"))


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    target = Target(folder, ROOT / "tests/fuzz/corpus/run-full.json")
    for seed in sorted((ROOT / "tests/fuzz/corpus").iterdir()):  # what is imported late is there
        target.accepted(seed.read_bytes(), lambda names: names)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    def test_one(data: bytes) -> None:
        share = zlib.crc32(data) / 2**32  # the same for the same input

        def chosen(names: Sequence[str]) -> Sequence[str]:
            return [names[int(share / SHOWN * len(names))]] if share < SHOWN else []

        target.accepted(data, chosen)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        changed = mutated(data, Random(seed))
        return changed if len(changed) <= max_size else data[:max_size]

    limits = [f"-timeout={SECONDS}", f"-rss_limit_mb={peak_mb + GROWTH_MB}", "-max_len=16384"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:]], test_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
