"""Which steps the sides declare, and why the head cannot build one."""

import re
from collections.abc import Callable
from pathlib import Path

from ..errors import UsageError
from ..machine.git import Git
from ..matrix.step import StepDescription
from ..runner.discovery import steps_on
from ..runner.process import Side

MISSING = re.compile(r"No module named '([\w.]+)'|cannot import name '(\w+)' from '([\w.]+)'")


def steps_of(
    base: Side, head: Side, device: str, budget_s: float, say: Callable[[str], None]
) -> tuple[tuple[StepDescription, ...], list[str]]:
    """The steps that the head declares; those that only the base can build, as they are there.

    What the head cannot build is said. Where the base cannot build it either it is left out, and
    why is the second part. Raises UsageError where that leaves no step.
    """
    steps, errors = _described(head, device, budget_s)
    if not errors:
        return tuple(steps.values()), []
    known, of_base = _described(base, device, budget_s)
    lines = {name: f"{error}{_hint(head.checkout, error)}" for name, error in errors.items()}
    found = {**known, **steps}
    if not found:
        raise UsageError("\n".join(lines.values()))
    for line in lines.values():
        say(line)
    left = {**of_base, **lines}
    nowhere = [line for name, line in left.items() if name and name not in found]
    return tuple(found.values()), nowhere


def _described(
    side: Side, device: str, budget_s: float
) -> tuple[dict[str, StepDescription], dict[str, str]]:
    """The steps that a side can build, by name, and what goes wrong with the others.

    What goes wrong with the whole file has no name.
    """
    try:
        steps = steps_on(side, device, f"{side.steps} on the {side.name}", budget_s)
    except UsageError as error:
        return {}, {"": str(error)}
    errors = {s.name: f"{s.name} on the {side.name}: {s.error}" for s in steps if s.error}
    return {step.name: step for step in steps if not step.error}, errors


def _hint(checkout: Path | None, error: str) -> str:
    """What to do where a module is missing that git ignores: builds make such modules."""
    if checkout is None or (found := MISSING.search(error)) is None:
        return ""
    module = found[1] or f"{found[3]}.{found[2]}"
    pattern = f":(glob)**/{module.replace('.', '/')}.*"
    listed = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", pattern)
    ignored = [path for path in Git(checkout).run(*listed).stdout.decode().split("\0") if path]
    if not ignored:
        return ""
    return (
        f"; git ignores {ignored[0]}, so the sides do not have it: name the command that makes it "
        "with --build"
    )
