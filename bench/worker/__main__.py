"""The worker: a fresh process that measures cases on request.

Run as `python -P worker/__main__.py CHANNEL SUBJECT STEPS DEVICE THREADS [own-threads]`: see
`session.serve`. This package, under the name of its folder, and the default step are loaded from
where this file is. That folder is not put on the import path: it may be a site-packages, with a
torch that is not this interpreter's.
"""

import ctypes
import gc
import os
import signal
import socket
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""


def end_with_runner(channel: int) -> None:
    """Have the kernel end this process when the runner dies, whatever it does then.

    Elsewhere than on Linux it is noticed when the next request is waited for.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with socket.socket(fileno=os.dup(channel)) as replies:
        try:
            dead = not replies.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            dead = False
    if dead:  # before that was asked for
        sys.exit("the runner is gone")


def load(package: str, folder: str) -> None:
    """Import a package from a folder, wherever else one of that name may be found."""
    spec = PathFinder.find_spec(package, [folder])
    if spec is None or spec.loader is None:
        sys.exit(f"there is no {package}/ in {folder}")
    sys.modules[package] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[package])


def main(channel: int, *words: str) -> None:
    end_with_runner(channel)
    os.set_inheritable(channel, False)  # or what this process starts would keep it open
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    # A quarter of the time that torch takes to be imported would go to finding no garbage in it.
    gc.disable()
    here = Path(__file__).parents[1]
    for package in (here.name, "sumnet"):
        load(package, str(here.parent))
    serve = import_module(f"{here.name}.worker.session").serve
    # Torch's OpenMP library may have bound this process to fewer (GOMP_CPU_AFFINITY and its like):
    # which of its cores a case runs on is decided here.
    if cores is not None:
        os.sched_setaffinity(0, cores)
    serve(channel, *words)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
