"""The steps that a worker can build: those of the default step's package, or of a user's file."""

import importlib.util
import inspect
import random
import sys
from collections.abc import Callable
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import torch

from ..matrix import default_step
from ..matrix.case import Case, case_of
from ..matrix.default_step import DECLARED
from ..matrix.precision import PRECISIONS
from ..matrix.step import PHASES, StepDescription, Traits
from ..protocol.reasons import reason_in, reason_of
from ..protocol.subject import ROOT, steps_hash, subject_hash
from .__main__ import load
from .import_check import shared_code
from .loop import Loop, Step, loop_over
from .older_subject import older_loop
from .refusals import CannotBuild, status_of

SEED = 0
SPARSE = (torch.nn.Embedding, torch.nn.EmbeddingBag)


class Steps:
    """What was loaded from a side's folder."""

    def __init__(
        self, folder: Path, file: str, *, installed: bool = False, checkout: Path | None = None
    ) -> None:
        """`file`, below the folder, declares the steps; where it is empty the default step is
        loaded from there. What goes wrong in a user's file is raised when a step is asked for.

        `installed`: the interpreter has the folder's code installed. `checkout` is where the folder
        is a copy of; nothing may be imported from there.
        """
        self.error: str | None = None
        self._folder, self._checkout = folder, checkout
        self._file = file
        self._declarations: dict[str, Any] = {}
        self._older: ModuleType | None = None
        if not file:
            training = _load_default(folder)
            if hasattr(training, "build_loop"):
                self._older = training
            self._declarations = _declared(training)
            self.hash = subject_hash(folder / default_step.PACKAGE)
            return
        before = set(sys.modules)
        try:
            self._declarations = _declared(_load_file(folder, file, installed))
            if not self._declarations:
                self.error = f"{file} declares no step: put @training_step() before a function"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self.error = f"{file} cannot be loaded: {reason_in(folder, error)}{_hint(error)}"
        loaded = [sys.modules[name] for name in set(sys.modules) - before if name in sys.modules]
        environment = Path(sys.prefix) if installed else None
        self.hash = steps_hash(folder, file, loaded, environment)

    def loop(
        self,
        case: Case,
        *,
        lr: float | None = None,
        before_steps: Callable[[], object] = lambda: None,
    ) -> Loop:
        """The loop that a case means; see `loop_over`. Raises CannotBuild."""
        if self._older is not None:
            return older_loop(self._older, case, lr, before_steps)
        step = self.build(case)
        _check_traits(step, case)
        return loop_over(step, case, lr=lr, before_steps=before_steps)

    def build(self, case: Case, dtype: torch.dtype | None = None) -> Step:
        """The step that a case means, always from one seed; in another dtype than the case's where
        one is given. Raises CannotBuild."""
        dtype = dtype or getattr(torch, PRECISIONS[case.dtype].parameters)
        if self.error is not None:
            raise CannotBuild(self.error)
        declaration = self._declarations.get(case.workload)
        if declaration is None:
            raise CannotBuild(f"{self._file} declares no step {case.workload}")
        torch.manual_seed(SEED)
        random.seed(SEED)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(SEED)
        try:
            step: Step = declaration.build(case.own_values, case.device, dtype)
        except Exception as error:
            if status_of(error) == "oom":
                raise
            reason = reason_in(self._folder, error)
            raise CannotBuild(f"{case.workload} cannot be built: {reason}") from error
        shared = self._checkout and shared_code(self._folder, self._file, self._checkout)
        if shared:
            raise CannotBuild(shared)
        return step

    def describe(self, device: str) -> tuple[StepDescription, ...]:
        """All steps, each built once at its first values, to see what it is. Raises CannotBuild."""
        if self.error is not None:
            raise CannotBuild(self.error)
        return tuple(self._described(d, device) for d in self._declarations.values())

    def _described(self, declaration: Any, device: str) -> StepDescription:
        description = default_step.described(declaration)
        try:
            step = self.build(case_of(description, {"device": device}))
            traits = traits_of(step, takes_dtype="dtype" in declaration.takes)
        except CannotBuild as error:
            return msgspec.structs.replace(description, error=str(error))
        except Exception as error:
            return msgspec.structs.replace(description, error=reason_of(error))
        return msgspec.structs.replace(description, traits=traits)


def _check_traits(step: Step, case: Case) -> None:
    """Raise CannotBuild for a step that is described in another way than at its first values."""
    expected, found = case.traits, traits_of(step, takes_dtype=case.traits.takes_dtype)
    for what in ("form", "phases", "own_optimizer"):
        first, here = getattr(expected, what), getattr(found, what)
        if first != here:
            raise CannotBuild(
                f"{case.workload} has {what} {here!r} here, and {first!r} at the first values of "
                "its axes: declare two steps"
            )


def traits_of(step: Step, *, takes_dtype: bool) -> Traits:
    """What a step that was built is."""
    parameters = [] if step.model is None else list(step.model.parameters())
    form = "loss" if step.loss is not None else "phases" if step.phases else "run"
    return Traits(
        form=form,
        phases=PHASES if form == "loss" else tuple(step.phases),
        own_optimizer=step.optimizer is not None,
        takes_dtype=takes_dtype,
        matrices=bool(parameters) and all(parameter.dim() == 2 for parameter in parameters),
        sparse=step.model is not None and _is_sparse(step.model),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
    )


def _is_sparse(model: torch.nn.Module) -> bool:
    """Whether every gradient will be sparse: all parameters belong to sparse embeddings."""
    owners = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    return bool(owners) and all(isinstance(m, SPARSE) and m.sparse for m in owners)


def _load_default(folder: Path) -> ModuleType:
    """The module of the default step as it is in a folder; of an older revision that with its loop.

    The suite's own was loaded before, and what it knows of the step stays bound to that.
    """
    package = default_step.PACKAGE
    if folder != ROOT:
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            del sys.modules[name]
        load(package, str(folder))
    is_older = importlib.util.find_spec(f"{package}.training") is None
    return importlib.import_module(f"{package}.{'train' if is_older else 'training'}")


def _load_file(folder: Path, file: str, installed: bool) -> Any:
    """Import a steps file. Its folder and those above it come first on the import path.

    So do folders `src` in them. All come last where the project is installed: its sources may lack
    what its build makes.
    """
    path = folder / file
    above = [place for parent in path.parents[1:] for place in (parent / "src", parent)]
    folders = [place for place in (path.parent, *above) if place.is_relative_to(folder)]
    places = list(dict.fromkeys(str(place) for place in folders if place.is_dir()))
    sys.path[:] = sys.path + places if installed else places + sys.path
    if not path.is_file():
        raise FileNotFoundError(f"there is no {file} in {folder}")
    spec = importlib.util.spec_from_file_location("training_steps", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _hint(error: BaseException) -> str:
    """What to do about it, where that is known."""
    if "relative import" in str(error):
        return "; it is no module of a package here: import what is beside it by its own name"
    return ""


def _declared(module: Any) -> dict[str, Any]:
    """Name to declaration, of the steps in a module. Raises TypeError for two of one name."""
    functions = [value for value in vars(module).values() if inspect.isfunction(value)]
    found: dict[str, Any] = {}
    for declaration in [vars(function).get(DECLARED) for function in functions]:
        if declaration is None:
            continue
        if found.setdefault(declaration.name, declaration) is not declaration:
            raise TypeError(f"two steps are called {declaration.name}: rename one of the functions")
    return found
