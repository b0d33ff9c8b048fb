"""Finding out which steps a file declares, by a worker: it is the users' own code."""

from pathlib import Path

from ..errors import MachineError, UsageError
from ..machine.checkout import root_of
from ..matrix.axes import AXES
from ..matrix.case import Case
from ..matrix.default_step import DEFAULT, Catalogue
from ..matrix.step import COLUMNS, StepDescription
from ..options import OPTIONS
from ..protocol.messages import Describe, Described, Refused
from .pool import Deadlines, Pool
from .process import Side


def catalogue_in(path: Path, device: str, budget_s: float | None = None) -> Catalogue:
    """The steps that a file declares, each built once on a device at its first values.

    Loading it is given up when it takes longer than the command's budget: see `Deadlines.within`.

    Raises UsageError where there is no such file, it cannot be loaded, or it declares nothing that
    can be built.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}: name the one that declares your steps")
    root = root_of(path)
    file = path.resolve().relative_to(root).as_posix()
    return Catalogue(steps_on(_in_place(root, file, {}), device, str(path), budget_s), file, root)


def steps_on(
    side: Side, device: str, path: str, budget_s: float | None = None
) -> tuple[StepDescription, ...]:
    """The steps that a side's file declares, likewise; messages call the file `path`."""
    try:
        with Pool(lambda: [side], Deadlines.within(budget_s)) as pool:
            pool.provide([Case(device=device, threads=1)])
            reply = pool.ask(Describe(device))
    except MachineError as error:  # which loading the file may have caused
        raise MachineError(f"{path}: {error}") from None
    if isinstance(reply, Refused):
        raise UsageError(f"{path}: {reply.reason}")
    if not isinstance(reply, Described):
        raise MachineError(f"{path}: the worker did not say which steps it declares")
    if DEFAULT.name in {step.name for step in reply.steps}:
        raise UsageError(f"{path}: {DEFAULT.name} is the name of the default step: use another")
    taken = {*COLUMNS, *(option.name for option in OPTIONS if option.name not in AXES)}
    for step in reply.steps:
        if wrong := [axis.name for axis in step.axes if axis.name in taken]:
            raise UsageError(
                f"{path}: {step.name} has an axis {wrong[0]}, which names an option or a column of "
                "the suite's: name it otherwise"
            )
    if all(step.error for step in reply.steps):
        lines = [f"  {step.name}: {step.error}" for step in reply.steps]
        raise UsageError("\n".join([f"{path}: no step can be built on {device}:", *lines]))
    return reply.steps


def catalogue_of(file: str) -> Catalogue:
    """Where the steps of an earlier run's plan lie: at the current folder, or above it in its
    checkout.

    Raises UsageError where they do not, or the path leads elsewhere: a stranger may have written
    the journal that names it, and the file is run.
    """
    if not file:
        return Catalogue()
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise UsageError(f"its steps are declared in {file}, which is no path inside a checkout")
    here = Path.cwd()
    top = root_of(here / file)
    for folder in (here, *here.parents):
        if folder.is_relative_to(top) and (folder / file).is_file():
            return Catalogue((), file, folder)
    raise UsageError(f"its steps are declared in {file}, and there is none at {here} or above it")


def side_of(catalogue: Catalogue, environment: dict[str, str] | None = None) -> Side:
    """What a worker runs, of the steps of a catalogue."""
    if catalogue.root is None:
        return Side(environment=environment or {})
    return _in_place(catalogue.root, catalogue.file, environment or {})


def _in_place(root: Path, file: str, environment: dict[str, str]) -> Side:
    """Steps in their own checkout, where importing them is to write no bytecode."""
    return Side(
        subject=root, steps=file, environment={**environment, "PYTHONDONTWRITEBYTECODE": "1"}
    )
