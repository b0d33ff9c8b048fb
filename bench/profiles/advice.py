"""What a profile says to do: at most three sentences, each of which its numbers bear out."""

import math

from bench.protocol.profile import StepProfile

SENTENCES = 3


def profile_advice(profile: StepProfile) -> list[str]:
    """Of one case's profile."""
    name, phase = max(profile.phases.items(), key=lambda item: item[1].share)
    outside = 1 - phase.in_operators
    sentences = []
    if len(profile.phases) > 1:
        sentences.append(f"{name} is the largest phase, {phase.share:.0%} of the step.")
    if outside >= phase.in_operators:
        sentences.append(
            f"{outside:.0%} of {name} lies outside its operators, in Python and bookkeeping."
        )
    elif phase.operators:
        top = phase.operators[0]
        sentences.append(f"{top.name} alone is {top.share:.0%} of {name}, in {top.calls} calls.")
    calls = {phase_name: of.ops + of.nodes for phase_name, of in profile.phases.items()}
    most = max(calls, key=lambda phase_name: calls[phase_name])
    if calls[most] > math.ceil(sum(calls.values()) / 2) and len(calls) > 1:
        sentences.append(
            f"{most} gives out {calls[most]} of the step's {sum(calls.values())} operators and "
            "nodes."
        )
    return sentences[:SENTENCES]
