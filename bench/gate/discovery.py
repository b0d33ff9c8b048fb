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
    base: Side, head: Side, device: str, say: Callable[[str], None]
) -> tuple[StepDescription, ...]:
    """The steps that the head declares; those that only the base can build, as they are there.

    What the head cannot build is said, and left out where the base cannot either. Raises UsageError
    where that leaves nothing.
    """
    steps, errors = _described(head, device)
    if not errors:
        return tuple(steps.values())
    known, _ = _described(base, device)
    lines = [f"{error}{_hint(head.checkout, error)}" for error in errors]
    found = {**known, **steps}
    if not found:
        raise UsageError("\n".join(lines))
    for line in lines:
        say(line)
    return tuple(found.values())


def _described(side: Side, device: str) -> tuple[dict[str, StepDescription], list[str]]:
    """The steps that a side can build, by name, and what goes wrong with the others."""
    try:
        steps = steps_on(side, device, f"{side.steps} on the {side.name}")
    except UsageError as error:
        return {}, [str(error)]
    errors = [f"{step.name} on the {side.name}: {step.error}" for step in steps if step.error]
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
