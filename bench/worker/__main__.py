"""The worker: a fresh process that measures cases on request.

Run as `python -P worker.py CHANNEL SUBJECT DEVICE THREADS [own-threads]`. CHANNEL is the file
descriptor of a socket: requests come and replies go there, one JSON object a line. Standard input
and output are left to whatever else runs in the process. SUBJECT is the folder that `sumnet` is
loaded from; `bench` is loaded from where this file is. Neither folder is put on the import path:
it may be a site-packages, with a torch that is not this interpreter's. With `own-threads` torch
takes its number of threads from the environment.
"""

import gc
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def load(package: str, folder: str) -> None:
    """Import a package from a folder, wherever else one of that name may be found."""
    spec = PathFinder.find_spec(package, [folder])
    if spec is None or spec.loader is None:
        sys.exit(f"there is no {package}/ in {folder}")
    sys.modules[package] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[package])


def main(channel: int, subject: str, device: str, threads: int, *words: str) -> None:
    os.set_inheritable(channel, False)  # or what this process starts would keep it open
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    # A quarter of the time that torch takes to be imported would go to finding no garbage in it.
    gc.disable()
    load("bench", str(Path(__file__).parents[2]))
    load("sumnet", subject)
    import msgspec

    from bench.protocol.messages import OWN_THREADS, Reply, Request
    from bench.worker.server import Server

    # Torch's OpenMP library may have bound this process to fewer (GOMP_CPU_AFFINITY and its like):
    # which of its cores a case runs on is decided here.
    if cores is not None:
        os.sched_setaffinity(0, cores)
    replies = os.fdopen(channel, "wb", closefd=False)

    def send(reply: Reply) -> None:
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()

    server = Server(device, threads, OWN_THREADS in words)
    send(server.hello())
    decode = msgspec.json.Decoder(Request).decode
    # The runner ends a worker by closing its end, also when it dies itself.
    for line in os.fdopen(channel, "rb"):
        send(server.answer(decode(line)))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
