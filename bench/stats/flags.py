"""What makes figures doubtful: what the machine was doing beside them, as it was sampled."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import TypeVar

from bench.machine.sampling import GpuHealth, HealthSample, HostHealth

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

Value = TypeVar("Value")


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
    ends = [sample.at_s for sample in samples]
    places = [bisect_left(ends, at) for at in blocks_at_s]
    places = [place for place in places if place < len(samples)]  # none speaks for the last blocks
    if not samples or not blocks_at_s:
        return {}
    blocks = len(blocks_at_s)
    quotas = _known(sample.health.host.cpu_quota for sample in samples)
    beside = [samples[place].health for place in places]
    on_gpu = _often([health.gpu is not None for health in beside], blocks)
    gpus = _gpus(samples) if on_gpu else []
    found = {
        "steal": _often_above(
            STEAL,
            [health.host.steal for health in beside],
            blocks,
            "the hypervisor gave up to {:.1%} of the cores to others while it was measured, "
            "{:.1%} on average",
        ),
        "busy": _often_above(
            BUSY * cores,
            [health.host.others for health in beside],
            blocks,
            "other processes used up to {:.2f} cores while it was measured, {:.2f} on average",
        ),
        "quota": _often_stopped([health.host for health in beside], quotas, blocks),
        "throttled": _often_throttled(samples, places, blocks),
        "shared GPU": _shared(gpus),
        "ecc": _failing(gpus),
        "clocks": _unlocked([health.host for health in beside], _known(h.gpu for h in beside)),
    }
    return {word: sentence for word, sentence in found.items() if sentence}


def health_note(samples: Sequence[HealthSample]) -> str | None:
    """A line on the worst that was seen in a run, and on what its machine does not tell.

    None where there are no samples.
    """
    if not samples:
        return None
    hosts = [sample.health.host for sample in samples]
    facts = _host_facts(hosts)
    if _known(host.cpu_quota for host in hosts):
        facts |= _quota_facts(hosts)
    if _gpus(samples):
        facts |= _gpu_facts(samples)
    told = [text for text in facts.values() if text]
    missing = [name for name, text in facts.items() if not text]
    if missing:
        told.append(f"{_listed(missing)} not told")
    return f"Health: {', '.join(told)}."


def _host_facts(hosts: Sequence[HostHealth]) -> dict[str, str | None]:
    """By their names; None for what is not told."""
    top = _of(host.max_mhz for host in hosts)
    governors = {host.governor for host in hosts if host.governor}
    return {
        "load": _seen("load up to {high:.1f}", (host.load for host in hosts)),
        "others": _seen("others at most {high:.2f} cores", (host.others for host in hosts)),
        "steal": _seen("steal at most {high:.1%}", (host.steal for host in hosts)),
        "CPU clock": _seen(
            f"CPU clock {{low:.0f}} to {{high:.0f}}{top} MHz", (host.mhz for host in hosts)
        ),
        "governor": f"governor {_listed(sorted(governors))}" if governors else None,
        "CPU temperature": _seen(
            "CPU at most {high:.0f} °C", (host.temperature_c for host in hosts)
        ),
    }


def _quota_facts(hosts: Sequence[HostHealth]) -> dict[str, str | None]:
    return {
        "CPU quota": _seen("CPU quota {low:.4g} cores", (host.cpu_quota for host in hosts)),
        "throttling by it": _seen(
            "throttled in up to {high:.0%} of periods", (host.throttled for host in hosts)
        ),
    }


def _gpu_facts(samples: Sequence[HealthSample]) -> dict[str, str | None]:
    gpus = _gpus(samples)
    top = _of(gpu.max_sm_mhz for gpu in gpus)
    limit = _of(gpu.power_limit_w for gpu in gpus)
    reasons = {reason for held in _held_back(samples) for reason in held}
    throttling = f"throttled ({_listed(sorted(reasons))})" if reasons else "never throttled"
    return {
        "SM clock": _seen(
            f"SM clock {{low:.0f}} to {{high:.0f}}{top} MHz", (gpu.sm_mhz for gpu in gpus)
        ),
        "GPU temperature": _seen("GPU at most {high:.0f} °C", (gpu.temperature_c for gpu in gpus)),
        "GPU power": _seen(f"GPU power up to {{high:.0f}}{limit} W", (gpu.power_w for gpu in gpus)),
        "throttling": throttling if _known(gpu.throttle for gpu in gpus) or reasons else None,
        "other processes on the GPU": _seen(
            "at most {high} other processes on the GPU", (gpu.other_processes for gpu in gpus)
        ),
        "ECC": _seen("uncorrected ECC errors {high}", (gpu.ecc_errors for gpu in gpus)),
    }


def _gpus(samples: Iterable[HealthSample]) -> list[GpuHealth]:
    return _known(sample.health.gpu for sample in samples)


def _often(shown: Iterable[bool], blocks: int) -> bool:
    return sum(shown) >= OFTEN * blocks


def _often_above(
    limit: float, values: Iterable[float | None], blocks: int, sentence: str
) -> str | None:
    """The sentence, with the highest value and the mean of all."""
    known = _known(values)
    if not _often((value > limit for value in known), blocks):
        return None
    return sentence.format(max(known), fmean(known))


def _often_stopped(hosts: Sequence[HostHealth], quotas: Sequence[float], blocks: int) -> str | None:
    """That a CPU quota stopped the case, or had to: a thread that does not wait uses a core."""
    quota = f"the CPU quota of {min(quotas):.4g} cores" if quotas else "the CPU quota"
    stopped = _often_above(
        0.0,
        [host.throttled for host in hosts],
        blocks,
        f"{quota} was used up in as many as {{:.0%}} of periods while it was measured, "
        "{:.0%} on average",
    )
    below = f"{quota} is less than one thread uses" if min(quotas, default=1.0) < 1 else None
    return stopped or below


def _held_back(samples: Sequence[HealthSample]) -> list[tuple[str, ...]]:
    """Why the GPU was throttled at or since the one before each sample."""
    gpus = [sample.health.gpu or GpuHealth() for sample in samples]
    held = []
    for before, after in pairwise([gpus[0], *gpus]):
        grew = _growth(_known([before.throttled_ns, after.throttled_ns])) > 0
        held.append(after.throttle or (("power or heat",) if grew else ()))
    return held


def _often_throttled(
    samples: Sequence[HealthSample], places: Sequence[int], blocks: int
) -> str | None:
    all_held = _held_back(samples)
    held = [all_held[place] for place in places]
    if not _often(map(bool, held), blocks):
        return None
    reasons = sorted({reason for reasons in held for reason in reasons})
    share = sum(map(bool, held)) / blocks
    return f"the GPU was throttled around {share:.0%} of its blocks: {', '.join(reasons)}"


def _shared(gpus: Iterable[GpuHealth]) -> str | None:
    most = max(_known(gpu.other_processes for gpu in gpus), default=0)
    return f"up to {most} other processes were on the GPU during the run" if most else None


def _failing(gpus: Iterable[GpuHealth]) -> str | None:
    errors = _growth(_known(gpu.ecc_errors for gpu in gpus))
    return f"the GPU's memory had {errors} uncorrected errors during the run" if errors else None


def _unlocked(hosts: Sequence[HostHealth], gpus: Sequence[GpuHealth]) -> str | None:
    """How the GPU's clock moved, and what lets the CPU's, which is told of idle cores too."""
    signs = []
    mhz = _known(gpu.sm_mhz for gpu in gpus)
    if mhz and max(mhz) > (1 + MOVED) * min(mhz):
        signs.append(f"the GPU's SM clock went from {min(mhz):.0f} to {max(mhz):.0f} MHz")
    governors = {host.governor for host in hosts if host.governor} - {LOCKED}
    if governors:
        signs.append(f"the governor was {_listed(sorted(governors))}, not {LOCKED}")
    return "; ".join(signs) or None


def _growth(counts: Sequence[int]) -> int:
    """How far a counter rose, whatever set it back in between."""
    return sum(max(after - before, 0) for before, after in pairwise(counts))


def _known(values: Iterable[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _seen(text: str, values: Iterable[float | None]) -> str | None:
    """The text with the lowest and the highest value that is known."""
    known = _known(values)
    return text.format(low=min(known), high=max(known)) if known else None


def _of(limits: Iterable[float | None]) -> str:
    return _seen(" of {high:.0f}", limits) or ""


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
