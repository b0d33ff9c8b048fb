"""What makes figures doubtful: what the machine did beside them, as it was sampled."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, TypeVar

from ..machine.sampling import GpuHealth, HealthSample, HostHealth

STEAL = 0.01
"""Share of the cores' time: twice the least that the kernel counts of one core between samples."""
BUSY = 0.05
"""Share of all cores: more than the daemons of an idle machine take."""
MOVED = 0.05
"""A share: a locked clock does not move, and one that is boosted as far as it goes hardly does."""
OFTEN = 0.1
"""Share of a case's blocks: what touches fewer hardly moves a low quantile or a median of them."""
LOCKED = "performance"
"""The governor that does not follow the load."""

Facts = Mapping[str, tuple[str, str]]
"""Name of a fact to the field it is read from, and how the note on a run has it."""
HOST: Facts = {
    "load": ("load", "load up to {high:.1f}"),
    "other processes": ("others", "other processes at most {high:.2f} cores"),
    "steal": ("steal", "steal at most {high:.1%}"),
    "CPU clock": ("mhz", "CPU clock {low:.0f} to {high:.0f}{limit} MHz"),
    "governor": ("governor", "governor {all}"),
    "CPU temperature": ("temperature_c", "CPU at most {high:.0f} °C"),
}
QUOTA: Facts = {
    "CPU quota": ("cpu_quota", "CPU quota {low:.4g} cores"),
    "throttling by it": ("throttled", "throttled in up to {high:.0%} of periods"),
}
GPU: Facts = {
    "SM clock": ("sm_mhz", "SM clock {low:.0f} to {high:.0f}{limit} MHz"),
    "GPU temperature": ("temperature_c", "GPU at most {high:.0f} °C"),
    "GPU power": ("power_w", "GPU power up to {high:.0f}{limit} W"),
    "other processes on the GPU": (
        "other_processes",
        "at most {high} other processes on the GPU",
    ),
    "ECC": ("ecc_errors", "uncorrected ECC errors {high}"),
}
LIMITS = {"mhz": "max_mhz", "sm_mhz": "max_sm_mhz", "power_w": "power_limit_w"}
"""Field to that of its upper limit."""

T = TypeVar("T")


def flags(
    samples: Sequence[HealthSample], blocks_at_s: Sequence[float], cores: int
) -> dict[str, str]:
    """What makes a case's figures doubtful, in a word and a sentence each; {} where nothing does.

    `blocks_at_s` is when its blocks were measured, seconds since the run's first session began. A
    sample speaks for the time since the one before it, but other processes on the GPU, errors of
    its memory and a CPU quota below one core count wherever in the run they were seen. What is
    wrong with a GPU is no matter to a case that was measured while none was sampled. The machine
    has so many `cores`.
    """
    if not samples or not blocks_at_s:
        return {}
    ends = [sample.at_s for sample in samples]
    places = [bisect_left(ends, at) for at in blocks_at_s]
    places = [place for place in places if place < len(samples)]  # none speaks for the last blocks
    beside = [samples[place].health for place in places]
    hosts = [health.host for health in beside]
    held_back = _held_back(samples)
    held = [held_back[place] for place in places]
    often = OFTEN * len(blocks_at_s)

    def above(limit: float, field: str, sentence: str) -> str | None:
        """The sentence, with the highest value and the mean of all."""
        values = _values(hosts, field)
        if sum(value > limit for value in values) < often:
            return None
        return sentence.format(max(values), fmean(values))

    quotas = _values([sample.health.host for sample in samples], "cpu_quota")
    quota = f"the CPU quota of {min(quotas):.4g} cores" if quotas else "the CPU quota"
    found = {
        "steal": above(
            STEAL,
            "steal",
            "the hypervisor gave up to {:.1%} of the cores to others while it was measured, "
            "{:.1%} on average",
        ),
        "busy": above(
            BUSY * cores,
            "others",
            "other processes used up to {:.2f} cores while it was measured, {:.2f} on average",
        ),
        "quota": above(
            0.0,
            "throttled",
            f"{quota} was used up in as many as {{:.0%}} of periods while it was measured, "
            "{:.0%} on average",
        ),
    }
    if not found["quota"] and min(quotas, default=1.0) < 1:  # a thread that does not wait uses 1
        found["quota"] = f"{quota} is less than one thread uses"
    if (times := sum(map(bool, held))) >= often:
        reasons = ", ".join(sorted({reason for reasons in held for reason in reasons}))
        share = times / len(blocks_at_s)
        found["throttled"] = f"the GPU was throttled around {share:.0%} of its blocks: {reasons}"
    if sum(health.gpu is not None for health in beside) >= often:
        gpus = _known(sample.health.gpu for sample in samples)
        if most := max(_values(gpus, "other_processes"), default=0):
            found["shared GPU"] = f"up to {most} other processes were on the GPU during the run"
        if errors := _growth(_values(gpus, "ecc_errors")):
            found["ecc"] = f"the GPU's memory had {errors} uncorrected errors during the run"
    found["clocks"] = _unlocked(hosts, _known(health.gpu for health in beside))
    return {word: sentence for word, sentence in found.items() if sentence}


def health_note(samples: Sequence[HealthSample]) -> str | None:
    """The worst that was seen in a run, and what is unavailable on its machine and why.

    None where there are no samples.
    """
    if not samples:
        return None
    hosts = [sample.health.host for sample in samples]
    gpus = _known(sample.health.gpu for sample in samples)
    facts = _facts(hosts, HOST)
    if _values(hosts, "cpu_quota"):
        facts |= _facts(hosts, QUOTA)
    sampled = [gpu for gpu in gpus if gpu.unavailable is None]
    if sampled:
        facts |= _facts(sampled, GPU)
        reasons = {reason for held in _held_back(samples) for reason in held}
        if reasons:
            facts["throttling"] = f"throttled ({_listed(reasons)})"
        else:
            facts["throttling"] = "never throttled" if _values(sampled, "throttle") else None
    found = [text for text in facts.values() if text]
    missing = [name for name, text in facts.items() if not text]
    if missing:
        found.append(f"unavailable: {', '.join(missing)}")
    lines = [f"Health: {', '.join(found)}."]
    if causes := _values(gpus, "unavailable"):
        times = f" in {len(causes)} of {len(gpus)} samples" if sampled else ""
        lines.append(f"GPU health unavailable{times}: {'; '.join(dict.fromkeys(causes))}.")
    return " ".join(lines)


def _facts(seen: Sequence[object], facts: Facts) -> dict[str, str | None]:
    """By their names; None for what is unavailable."""
    found: dict[str, str | None] = {}
    for name, (field, text) in facts.items():
        values = _values(seen, field)
        limits = _values(seen, LIMITS[field]) if field in LIMITS else []
        limit = f" of {max(limits):.0f}" if limits else ""
        found[name] = None
        if values:
            span = {"low": min(values), "high": max(values), "all": _listed(map(str, values))}
            found[name] = text.format(**span, limit=limit)
    return found


def _held_back(samples: Sequence[HealthSample]) -> list[tuple[str, ...]]:
    """Why the GPU was throttled at or since the one before each sample."""
    gpus = [sample.health.gpu or GpuHealth() for sample in samples]
    held = []
    for before, after in pairwise([gpus[0], *gpus]):
        grew = _growth(_values([before, after], "throttled_ns")) > 0
        held.append(after.throttle or (("power or heat",) if grew else ()))
    return held


def _unlocked(hosts: Sequence[HostHealth], gpus: Sequence[GpuHealth]) -> str | None:
    """How the GPU's clock moved under load, and what lets the CPU's, which is of idle cores too."""
    signs = []
    mhz = _values((gpu for gpu in gpus if not gpu.idle), "sm_mhz")
    if mhz and max(mhz) > (1 + MOVED) * min(mhz):
        signs.append(f"the GPU's SM clock went from {min(mhz):.0f} to {max(mhz):.0f} MHz")
    if governors := set(_values(hosts, "governor")) - {LOCKED}:
        signs.append(f"the governor was {_listed(governors)}, not {LOCKED}")
    return "; ".join(signs) or None


def _growth(counts: Sequence[int]) -> int:
    """How far a counter rose, whatever set it back in between."""
    return sum(max(after - before, 0) for before, after in pairwise(counts))


def _known(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _values(seen: Iterable[object], field: str) -> list[Any]:
    return _known(getattr(each, field) for each in seen)


def _listed(words: Iterable[str]) -> str:
    *most, last = sorted(set(words))
    return f"{', '.join(most)} and {last}" if most else last
