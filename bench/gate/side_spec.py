"""What the options of `regress` ask for on either side, and which cases are compared."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import UsageError
from ..matrix.axes import selectable
from ..matrix.case import Case
from ..matrix.comparison import Comparison
from ..matrix.default_step import DEFAULT
from ..matrix.step import StepDescription, Value
from ..runner.pairs import PADDING

OURS = {
    "PYTHONPATH": "both sides import from the same folders; --base names a subject, and "
    "--base-python an interpreter with a torch of its own",
    "PYTHONHASHSEED": "every pair draws one, for both sides alike",
    PADDING: "every pair draws its length, so that both environments are of one size",
}
"""Variables that both sides are given here, and to what end."""
VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]*")


@dataclass(frozen=True)
class SideSpec:
    """One side, as its options word it."""

    name: str
    """`base` or `head`, which is its option too."""
    subject: str | None = None
    """A git revision, or a folder that holds sumnet/; see `make_sides` where it is None."""
    axes: Mapping[str, str] = field(default_factory=dict)
    """The values of axes on this side, in place of the cases', as they were typed."""
    torch: str | None = None
    """A torch version to install for it: "2.12.0", or "2.12.0+cpu"."""
    python: str | None = None
    """An interpreter to run it with, by path or as a shell finds it."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_special(self) -> bool:
        """Whether it differs from other sides, whatever its subject and its environment."""
        return bool(self.axes) or self.torch is not None or self.python is not None


def parse_side(
    name: str,
    words: Iterable[str],
    torch: str | None = None,
    python: str | None = None,
    settings: Iterable[str] = (),
) -> SideSpec:
    """One side, of the words of its option: at most one subject, and AXIS=VALUE.

    `settings` are NAME=VALUE for its environment. Raises UsageError for what is not allowed.
    """

    def refused(option: str, why: str) -> UsageError:
        return UsageError(f"--{name}{option}: {why}")

    if torch is not None and python is not None:
        raise refused(
            f"-torch and --{name}-python",
            "one installs a torch, the other names an interpreter that has its own; give one of "
            "them",
        )
    if torch is not None and VERSION.fullmatch(torch) is None:
        raise refused("-torch", f"{torch!r} is no version; one is 2.12.0, or 2.12.0+cpu")
    subject: str | None = None
    axes: dict[str, str] = {}
    for word in words:
        axis, equals, text = word.partition("=")
        if word.startswith("-") or not word:
            raise refused("", f"{word!r} is neither a revision nor a folder; name one")
        if not equals:
            if subject is not None:
                raise refused("", f"{subject!r} and {word!r}: a side has one subject")
            subject = word
            continue
        if axis in axes:
            raise refused("", f"{axis} is given twice")
        axes[axis] = text
    environment: dict[str, str] = {}
    for setting in settings:
        variable, equals, value = setting.partition("=")
        if not (variable and equals):
            raise refused("-env", f"{setting!r} is not NAME=VALUE")
        if variable in OURS:
            raise refused("-env", f"{variable} cannot be set: {OURS[variable]}")
        if variable in environment:
            raise refused("-env", f"{variable} is given twice; give it once")
        environment[variable] = value
    return SideSpec(name, subject, axes, torch, python, environment)


def values_of(side: SideSpec, steps: Iterable[StepDescription]) -> dict[str, Value]:
    """The values of axes on a side. Raises UsageError for what these steps do not have."""
    known, values = selectable(steps), {}
    for axis, text in side.axes.items():
        word = f"--{side.name}: {f'{axis}={text}'!r}"
        if axis == "workload":
            raise UsageError(f"{word}: sides run one step: name a case of it, or --workload")
        if axis not in known:
            raise UsageError(f"{word}: there is no axis {axis!r}; allowed: {', '.join(known)}")
        try:
            values[axis] = known[axis].value(text)
        except UsageError as error:
            raise UsageError(f"{word}: {error}") from None
    return values


def comparisons(
    cases: Sequence[Case],
    base: SideSpec,
    head: SideSpec,
    steps: Sequence[StepDescription] = (DEFAULT,),
) -> list[Comparison]:
    """Each case of these steps on both sides, with the values that each side has; each once.

    An axis that one side names takes the case's own value on the other; where axes are to differ,
    cases in which they do not are left out. Raises UsageError where that leaves none, where the
    sides name the same values, and for values that there are not.
    """
    ours, theirs = (values_of(side, steps) for side in (base, head))
    if ours and ours == theirs:
        values = ", ".join(f"{name}={value}" for name, value in ours.items())
        raise UsageError(f"--base and --head are both {values}: let them differ")
    found = dict.fromkeys(Comparison(case.but(ours), case.but(theirs)) for case in cases)
    if not (ours or theirs):
        return list(found)
    differing = [comparison for comparison in found if comparison.base != comparison.head]
    if not differing:
        raise UsageError(
            "--base and --head: the cases have these values already, on both sides: "
            "name another value, or other cases"
        )
    return differing
