"""Files that a stranger may have written are refused, or shown; the fuzzer goes on from these."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutator import mutated
from tests.fuzz.seeds import CORPUS, files
from tests.fuzz.target import Target

SECONDS = 4
"""Twice what is promised of a verb: tests run beside others."""
EXAMPLES = 250
SEEDS = files()
SHOWN = {*SEEDS, "moved-count.json", "no-time-passed.json"}
"""Files of the corpus that are accepted; all others are refused."""
KINDS = {name: "report" if name.startswith("report") else Path(name).suffix for name in SEEDS}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return Target(tmp_path_factory.mktemp("files"), CORPUS / "run-full.json")


def nothing(names: Sequence[str]) -> Sequence[str]:
    return []


@pytest.mark.parametrize("name", SEEDS)
def test_valid_files_are_accepted_and_the_corpus_has_them(target: Target, name: str) -> None:
    assert target.accepted(SEEDS[name], nothing) == [KINDS[name]]
    assert target.accepted((CORPUS / name).read_bytes(), nothing) == [KINDS[name]]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[pytest.mark.slow] if path.name in SHOWN else [])
        for path in sorted(CORPUS.iterdir())
    ],
)
def test_corpus_is_refused_or_shown_by_every_verb(target: Target, path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        kinds = target.accepted(path.read_bytes(), lambda names: names)
    assert bool(kinds) == (path.name in SHOWN)


@settings(
    max_examples=EXAMPLES,
    deadline=1000 * SECONDS,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**32))
def test_changed_files_are_refused_or_shown(target: Target, name: str, seed: int) -> None:
    chance = Random(seed)

    def a_few(names: Sequence[str]) -> Sequence[str]:
        return [chance.choice(names)] if chance.random() < 0.05 else []

    with warnings.catch_warnings(action="ignore"):
        target.accepted(mutated(SEEDS[name], chance), a_few)
