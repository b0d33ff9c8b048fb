"""Flags: which case's blocks lay in what the machine was seen to do, and the line on the run."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from bench.machine.sampling import GpuHealth, Health, HealthSample, HostHealth
from bench.stats import flags as health
from bench.stats.flags import health_note

CALM = HostHealth(
    steal=0.0,
    others=0.02,
    load=0.8,
    mhz=2900.0,
    max_mhz=3500.0,
    governor="performance",
    temperature_c=61.0,
)
STEADY = GpuHealth(
    sm_mhz=1410,
    max_sm_mhz=1980,
    memory_mhz=2619,
    temperature_c=54,
    power_w=312.0,
    power_limit_w=700.0,
    throttle=(),
    throttled_ns=4_000,
    ecc_errors=0,
    other_processes=0,
)


def flags(samples: Sequence[HealthSample], blocks_at_s: Sequence[float]) -> dict[str, str]:
    """On a machine of two cores."""
    return health.flags(samples, blocks_at_s, cores=2)


def samples_of(
    hosts: Iterable[HostHealth], gpus: Sequence[GpuHealth | None] | None = None
) -> list[HealthSample]:
    """One every two seconds, the first at 0 s."""
    told = list(hosts)
    beside = gpus or [None] * len(told)
    return [
        HealthSample(2.0 * number, Health(host, gpu))
        for number, (host, gpu) in enumerate(zip(told, beside, strict=True))
    ]


def hosts(name: str, values: Sequence[Any]) -> list[HealthSample]:
    """Samples of a calm host, but for one thing."""
    return samples_of(replace(CALM, **{name: value}) for value in values)


def gpus(name: str, values: Sequence[Any]) -> list[HealthSample]:
    """Samples of a calm host with a steady GPU, but for one thing."""
    told = [replace(STEADY, **{name: value}) for value in values]
    return samples_of([CALM] * len(told), told)


def blocks(*counts: int) -> list[float]:
    """So many blocks in the two seconds before each sample."""
    return [
        2.0 * (number - 1) + 1.9 * (block + 1) / count
        for number, count in enumerate(counts)
        for block in range(count)
    ]


def test_nothing_is_flagged_on_a_calm_machine() -> None:
    assert flags(samples_of([CALM] * 5, [STEADY] * 5), blocks(0, 10, 10, 10, 10)) == {}


def test_nothing_is_flagged_where_nothing_is_reported() -> None:
    samples = samples_of([HostHealth()] * 3, [GpuHealth()] * 3)
    assert flags(samples, blocks(0, 10, 10)) == {}
    assert flags([], [1.0, 2.0]) == {}


def test_case_without_blocks_has_no_figures_to_flag() -> None:
    assert flags(hosts("governor", ["powersave"] * 3), []) == {}


def test_steal_has_its_most_and_its_mean_over_the_blocks() -> None:
    samples = hosts("steal", [None, 0.032, 0.0, 0.5])
    assert flags(samples, blocks(0, 10, 10, 0)) == {
        "steal": "the hypervisor gave up to 3.2% of the cores to others while it was measured, "
        "1.6% on average"
    }


def test_other_processes_have_their_most_and_their_mean_over_the_blocks() -> None:
    samples = hosts("others", [None, 0.0, 0.8, 1.9])
    assert flags(samples, blocks(0, 30, 10, 0)) == {
        "busy": "other processes used up to 0.80 cores while it was measured, 0.20 on average"
    }


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("steal", 0.01, None),
        ("steal", 0.011, "steal"),
        ("others", 0.1, None),
        ("others", 0.11, "busy"),
    ],
)
def test_a_little_is_no_flag(name: str, value: float, word: str | None) -> None:
    assert list(flags(hosts(name, [None, value]), blocks(0, 10))) == ([word] if word else [])


@pytest.mark.parametrize(("touched", "flagged"), [(9, False), (10, True)])
@pytest.mark.parametrize(
    "samples",
    [
        hosts("steal", [0.0, 0.0, 0.2]),
        hosts("others", [0.0, 0.0, 0.2]),
        hosts("throttled", [0.0, 0.0, 0.2]),
        gpus("throttle", [(), (), ("thermal",)]),
        gpus("throttled_ns", [4_000, 4_000, 5_000]),
    ],
)
def test_what_touches_less_than_a_tenth_of_the_blocks_is_no_flag(
    samples: list[HealthSample], touched: int, flagged: bool
) -> None:
    assert bool(flags(samples, blocks(0, 100 - touched, touched))) == flagged


def test_blocks_that_no_sample_speaks_for_count_among_all() -> None:
    samples = hosts("steal", [0.0, 0.2])
    assert flags(samples, [*blocks(0, 1), *([7.0] * 5)])
    assert not flags(samples, [*blocks(0, 1), *([7.0] * 10)])
    assert not flags(samples, [7.0])


def test_sample_speaks_for_the_time_since_the_one_before_it() -> None:
    samples = hosts("steal", [0.0, 0.2, 0.0])
    flagged = {at: bool(flags(samples, [at])) for at in (0.0, 0.1, 2.0, 2.1, 4.0)}
    assert flagged == {0.0: False, 0.1: True, 2.0: True, 2.1: False, 4.0: False}


# A CPU quota


def test_quota_that_stopped_blocks_is_a_flag_with_its_most_and_its_mean() -> None:
    limited = replace(CALM, cpu_quota=1.5)
    shares = (None, 0.99, 0.01, 0.0)
    samples = samples_of(replace(limited, throttled=share) for share in shares)
    assert flags(samples, blocks(0, 10, 10, 0)) == {
        "quota": "the CPU quota of 1.5 cores was used up in as many as 99% of periods while it "
        "was measured, 50% on average"
    }
    assert flags(samples, blocks(0, 0, 0, 10)) == {}


def test_quota_that_is_not_known_stops_blocks_too() -> None:
    assert flags(hosts("throttled", [None, 0.5]), blocks(0, 10)) == {
        "quota": "the CPU quota was used up in as many as 50% of periods while it was measured, "
        "50% on average"
    }


def test_quota_below_a_core_is_a_flag_without_a_count_of_periods() -> None:
    assert flags(hosts("cpu_quota", [0.5, 0.5]), blocks(0, 10)) == {
        "quota": "the CPU quota of 0.5 cores is less than one thread uses"
    }
    assert list(flags(hosts("cpu_quota", [0.5]), [7.0])) == ["quota"], "none speaks for it"
    assert flags(hosts("cpu_quota", [1.0, 1.0]), blocks(0, 10)) == {}
    assert flags(hosts("cpu_quota", [0.5, 0.5]), []) == {}


def test_note_says_the_quota_and_how_often_it_was_used_up() -> None:
    limited = replace(CALM, cpu_quota=0.5)
    told = health_note(samples_of([limited, replace(limited, throttled=0.99)]))
    assert told and told.endswith(
        "CPU at most 61 °C, CPU quota 0.5 cores, throttled in up to 99% of periods."
    )
    uncounted = health_note(samples_of([limited] * 2))
    assert uncounted and uncounted.endswith("CPU quota 0.5 cores, unavailable: throttling by it.")
    free = health_note(samples_of([CALM] * 2))
    assert free and "quota" not in free and "throttling" not in free


# The GPU


def test_throttling_has_its_reasons_and_its_share_of_the_blocks() -> None:
    samples = gpus("throttle", [(), ("power cap", "thermal"), ("power cap",), ()])
    assert flags(samples, blocks(0, 10, 10, 30)) == {
        "throttled": "the GPU was throttled around 40% of its blocks: power cap, thermal"
    }


def test_throttling_between_samples_is_counted() -> None:
    samples = gpus("throttled_ns", [4_000, 9_000, 9_000])
    assert flags(samples, blocks(0, 10, 10)) == {
        "throttled": "the GPU was throttled around 50% of its blocks: power or heat"
    }


@pytest.mark.parametrize("counts", [[4_000, 4_000], [None, 9_000], [9_000, None], [9_000, 0]])
def test_throttling_before_the_run_is_none_of_it(counts: list[int | None]) -> None:
    assert flags(gpus("throttled_ns", counts), blocks(0, 10)) == {}


def test_gpu_that_others_used_at_any_time_is_shared() -> None:
    samples = gpus("other_processes", [0, None, 0, 2, 0])
    assert flags(samples, blocks(0, 10, 0, 0, 0)) == {
        "shared GPU": "up to 2 other processes were on the GPU during the run"
    }


@pytest.mark.parametrize(
    ("errors", "more"), [([5, 5, 5], 0), ([5, 5, 7], 2), ([5, None, 6], 1), ([5, 0, 1], 1)]
)
def test_errors_that_a_gpu_had_before_the_run_are_none_of_it(
    errors: list[int | None], more: int
) -> None:
    sentence = f"the GPU's memory had {more} uncorrected errors during the run"
    found = flags(gpus("ecc_errors", errors), blocks(0, 10, 0))
    assert found == ({"ecc": sentence} if more else {})


def test_what_is_wrong_with_a_gpu_is_no_matter_to_a_case_of_the_cpu() -> None:
    bad = replace(STEADY, other_processes=1, throttle=("thermal",))
    failing = replace(bad, ecc_errors=3, sm_mhz=990)
    samples = samples_of([CALM] * 4, [None, None, bad, failing])
    assert flags(samples, blocks(0, 10, 0, 0)) == {}
    assert set(flags(samples, blocks(0, 0, 10, 0))) == {"throttled", "shared GPU", "ecc"}


# Clocks


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (
            gpus("sm_mhz", [345, 1410, 1785]),
            "the GPU's SM clock went from 1410 to 1785 MHz",
        ),
        (
            hosts("governor", ["performance", "schedutil", "performance"]),
            "the governor was schedutil, not performance",
        ),
    ],
)
def test_clocks_that_moved_or_may_move_are_not_locked(
    samples: list[HealthSample], sentence: str
) -> None:
    assert flags(samples, blocks(0, 10, 10)) == {"clocks": sentence}


def test_clocks_are_reported_together() -> None:
    host = replace(CALM, governor="powersave")
    samples = samples_of([host] * 2, [STEADY, replace(STEADY, sm_mhz=1980)])
    assert flags(samples, blocks(5, 10)) == {
        "clocks": "the GPU's SM clock went from 1410 to 1980 MHz; "
        "the governor was powersave, not performance"
    }


def test_clock_that_hardly_moves_is_locked_and_a_cpus_is_of_idle_cores_too() -> None:
    assert flags(gpus("sm_mhz", [1980, 1935, 1980]), blocks(0, 10, 10)) == {}
    assert flags(hosts("mhz", [1200.0, 2910.0, 3925.0]), blocks(0, 10, 10)) == {}


def test_clock_of_an_idle_gpu_is_not_compared_with_that_under_load() -> None:
    clocks = [(345, True), (1410, False), (210, True), (1410, False)]
    told = [replace(STEADY, sm_mhz=mhz, idle=idle) for mhz, idle in clocks]
    assert flags(samples_of([CALM] * 4, told), blocks(0, 10, 10, 10)) == {}
    told[-1] = replace(told[-1], sm_mhz=1200)
    assert flags(samples_of([CALM] * 4, told), blocks(0, 10, 10, 10)) == {
        "clocks": "the GPU's SM clock went from 1200 to 1410 MHz"
    }


# The line on the run


def test_note_says_what_was_seen_at_most_and_what_is_unavailable() -> None:
    first = HostHealth(load=1.2)
    samples = samples_of([first, HostHealth(load=0.9, steal=0.0, others=0.02)])
    assert health_note(samples) == (
        "Health: load up to 1.2, other processes at most 0.02 cores, steal at most 0.0%, "
        "unavailable: CPU clock, governor, CPU temperature."
    )


def test_note_of_a_machine_that_shows_all() -> None:
    hot = replace(STEADY, sm_mhz=1980, temperature_c=71, throttle=("thermal", "power cap"))
    samples = samples_of([CALM, replace(CALM, mhz=3200.0, steal=0.034)], [STEADY, hot])
    assert health_note(samples) == (
        "Health: load up to 0.8, other processes at most 0.02 cores, steal at most 3.4%, "
        "CPU clock 2900 to 3200 of 3500 MHz, governor performance, CPU at most 61 °C, "
        "SM clock 1410 to 1980 of 1980 MHz, GPU at most 71 °C, GPU power up to 312 of 700 W, "
        "at most 0 other processes on the GPU, uncorrected ECC errors 0, "
        "throttled (power cap and thermal)."
    )


def test_note_distinguishes_never_throttled_from_unavailable() -> None:
    never = health_note(gpus("throttle", [(), ()]))
    between = health_note(gpus("throttled_ns", [0, 1_000]))
    silent = replace(STEADY, throttle=None, throttled_ns=None)
    unknown = health_note(samples_of([CALM] * 2, [silent] * 2))
    assert never and "never throttled" in never
    assert between and "throttled (power or heat)" in between
    assert unknown and unknown.endswith(", unavailable: throttling.")


MISSING = GpuHealth(unavailable="NVML is missing")


def test_note_says_why_nothing_is_known_of_a_gpu_and_which_figures_are_missing() -> None:
    nothing = health_note(samples_of([CALM] * 2, [MISSING] * 2))
    assert nothing and nothing.endswith(
        "CPU at most 61 °C. GPU health unavailable: NVML is missing."
    )
    powerless = health_note(gpus("power_w", [None, None]))
    assert powerless and powerless.endswith("never throttled, unavailable: GPU power.")
    lost = health_note(samples_of([CALM] * 3, [STEADY, MISSING, MISSING]))
    assert lost and "SM clock 1410 to 1410" in lost
    assert lost.endswith("GPU health unavailable in 2 of 3 samples: NVML is missing.")


def test_nothing_is_flagged_of_a_gpu_that_tells_nothing() -> None:
    assert flags(samples_of([CALM] * 3, [MISSING] * 3), blocks(0, 10, 10)) == {}


def test_note_leaves_out_limits_that_are_unavailable() -> None:
    bare = replace(STEADY, max_sm_mhz=None, power_limit_w=None)
    note = health_note(samples_of([replace(CALM, max_mhz=None)], [bare]))
    assert note is not None
    for text in ("CPU clock 2900 to 2900 MHz", "SM clock 1410 to 1410 MHz", "up to 312 W"):
        assert text in note


def test_without_samples_there_is_no_note() -> None:
    assert health_note([]) is None
