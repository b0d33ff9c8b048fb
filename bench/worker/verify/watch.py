"""What a step does that its user should know of: where its data is, and where it waits."""

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

R = TypeVar("R")

READS = {
    "_local_scalar_dense": ".item(), or bool(), int() or float() of a tensor",
    "nonzero": "nonzero(), or an index by a mask",
    "masked_select": "masked_select()",
    "_unique2": "unique()",
}
"""Operators whose result, or its size, the host has to wait for, as users write them."""
INDEXES = ("index", "index_put_")
COPIES = ("_to_copy", "copy_")
SYNCHRONIZE = ("cuda", "xpu", "mps", "accelerator")
"""Modules of torch with a function that waits for a device."""
TORCH = f"{Path(torch.__file__).parent}{os.sep}"
OTHERS = (f"{Path(__file__).parents[2]}{os.sep}", f"{TORCH}optim{os.sep}", f"{TORCH}amp{os.sep}")
"""Files that read values for themselves: the suite's, and those of optimizers and GradScaler."""
STDLIB = sysconfig.get_path("stdlib")


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, notes what a step does. Compiled code has to run as it was written."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = torch.device(device)
        self.strangers: dict[str, str] = {}
        """A tensor elsewhere than on the device: the operator that reads it, and where."""
        self.copies: dict[str, str] = {}
        """A tensor that is copied to the device: where."""
        self.waits: dict[str, str] = {}
        """Where the host waits for the device: place to what the user calls there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)]
        result = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_leaves(result) if torch.is_tensor(leaf)]
        if name in COPIES:
            self._note_copy(operands[-1], results[0])
        elif name in READS:
            self._note_wait(READS[name])
        elif name in INDEXES and any(operand.dtype is torch.bool for operand in operands[1:]):
            self._note_wait(READS["nonzero"])
        elif not func.is_view:
            elsewhere = [t for t in operands if t.dim() and not self._is_here(t)]
            if elsewhere:
                self.strangers.setdefault(_shown(elsewhere[0]), f"{name} at {users_line() or '?'}")
        return result

    def _note_copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        if self._is_here(target) and not self._is_here(source) and source.dim():
            self.copies.setdefault(_shown(source), users_line() or "")
        if self._is_here(source) and not self._is_here(target):
            self._note_wait(".cpu() or .to()")

    def _note_wait(self, call: str) -> None:
        if (place := users_line()) is not None:  # the suite's and torch's own are no news
            self.waits.setdefault(place, call)

    def _is_here(self, tensor: torch.Tensor) -> bool:
        return is_on(tensor, self.device)

    def run(self, call: Callable[[], R]) -> R:
        """What a call returns, watched while it runs as it was written."""
        with torch.compiler.set_stance("force_eager"), self._synchronizing(), self:
            return call()

    @contextlib.contextmanager
    def _synchronizing(self) -> Iterator[None]:
        """Note the calls of torch's functions that wait for a device."""
        with contextlib.ExitStack() as stack:
            for kind in SYNCHRONIZE:
                module = getattr(torch, kind, None)
                wait = getattr(module, "synchronize", None)
                if module is not None and wait is not None:
                    noting = self._noting(wait, f"torch.{kind}.synchronize()")
                    setattr(module, "synchronize", noting)  # noqa: B010
                    stack.callback(setattr, module, "synchronize", wait)
            yield

    def _noting(self, wait: Callable[..., R], call: str) -> Callable[..., R]:
        def noting(*args: Any, **kwargs: Any) -> R:
            self._note_wait(call)
            return wait(*args, **kwargs)

        return noting


class Inputs:
    """What a model is called with, noted in `hearing`."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        """Of the tensors of the first call."""
        self.with_gradients = True
        """Whether autograd was on in every call."""

    @contextlib.contextmanager
    def hearing(self, model: torch.nn.Module | None) -> Iterator[None]:
        if model is None:
            yield
            return
        handle = model.register_forward_pre_hook(self._note, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _note(self, model: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self.with_gradients &= torch.is_grad_enabled()
        if not self.shapes:
            leaves = tree_leaves((args, kwargs))
            self.shapes = [tuple(leaf.shape) for leaf in leaves if torch.is_tensor(leaf)]


def is_on(tensor: torch.Tensor, device: torch.device) -> bool:
    """Whether it is there; a device without an index is any of its kind."""
    index = device.index
    return tensor.device.type == device.type and (index is None or tensor.device.index == index)


def users_line() -> str | None:
    """The innermost line of the user's that is being run, as `steps.py:12`."""
    for frame, line in traceback.walk_stack(None):
        file = frame.f_code.co_filename
        if file != __file__ and file.startswith(OTHERS):
            return None
        if not (file == __file__ or file.startswith((TORCH, "<")) or _is_stdlib(file)):
            return f"{Path(file).name}:{line}"
    return None


def _is_stdlib(file: str) -> bool:
    return file.startswith(STDLIB) and "site-packages" not in file


def _shown(tensor: torch.Tensor) -> str:
    return f"a tensor of shape {tuple(tensor.shape)} on {tensor.device}"
