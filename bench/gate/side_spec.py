"""What is compared: cases, and the values of axes in which the sides are to differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.errors import UsageError
from bench.matrix.axes import AXES, Value
from bench.matrix.case import Case
from bench.matrix.comparison import Comparison


@dataclass(frozen=True)
class Wanted:
    """One side, as --base or --head words it."""

    subject: str | None
    """A revision or a folder; None where there is none among the words."""
    axes: dict[str, Value]
    """The values of axes that this side has, whatever the cases say."""


def wanted(option: str, words: Iterable[str]) -> Wanted:
    """What the words of an option amount to: at most one subject, and AXIS=VALUE.

    Raises UsageError where there are two subjects, or no such axis or value.
    """
    subject: str | None = None
    axes: dict[str, Value] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if equals:
            if name not in AXES:
                raise UsageError(
                    f"--{option}: {word!r}: there is no axis {name!r}; allowed: {', '.join(AXES)}"
                )
            if name in axes:
                raise UsageError(f"--{option}: {name} is given twice")
            try:
                axes[name] = AXES[name].value(text)
            except UsageError as error:
                raise UsageError(f"--{option}: {word!r}: {error}") from None
        elif subject is not None:
            raise UsageError(f"--{option}: {subject!r} and {word!r}: a side has one subject")
        else:
            subject = word
    return Wanted(subject, axes)


def comparisons(cases: Sequence[Case], base: Wanted, head: Wanted) -> list[Comparison]:
    """Each case on both sides, with the values that each side has; each once.

    An axis that one side names takes the case's own value on the other; where axes are to differ,
    cases in which they do not are left out. Raises UsageError where that leaves none.
    """
    found = dict.fromkeys(Comparison(_with(case, base), _with(case, head)) for case in cases)
    if not (base.axes or head.axes):
        return list(found)
    differing = [comparison for comparison in found if comparison.base != comparison.head]
    if not differing:
        raise UsageError(
            "--base and --head: the cases have these values already, on both sides: "
            "name another value, or other cases"
        )
    return differing


def axes_differ(base: Wanted, head: Wanted) -> bool:
    """Whether the words ask for sides that run different cases.

    Raises UsageError where the sides agree in what they name.
    """
    if base.axes and base.axes == head.axes:
        told = ", ".join(f"{name}={value}" for name, value in base.axes.items())
        raise UsageError(f"--base and --head are both {told}: let them differ")
    return bool(base.axes or head.axes)


def _with(case: Case, side: Wanted) -> Case:
    values: dict[str, Any] = dict(side.axes)
    return msgspec.structs.replace(case, **values)
