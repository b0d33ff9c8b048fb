"""A worker that measures nothing and answers at once: it speaks the protocol and needs no torch.

Run as `python fake_worker.py OVERRIDES [-P -m bench.measure.worker] DEVICE THREADS`. OVERRIDES is a
Python file run in this module's names: what it defines takes the place of what is here.
"""

import os
import sys
from pathlib import Path

import msgspec

from bench.matrix.support import Facts
from bench.measure.protocol import KINDS, Block, Hello, Measure, Prepare, Prepared, Reply, Request

FOLDER = Path(sys.argv[1]).parent
DEVICE, THREADS = sys.argv[-2], int(sys.argv[-1])


def facts() -> Facts:
    absent = {"cuda": "no cuda device here", "mps": "no mps device here"}
    return Facts("2.13.0", 4, 64 * 2**30, "g++", True, {"cpu": None, **absent})


def hello() -> Hello:
    return Hello(facts(), "3.11.0", "0" * 16, THREADS, [0])


def prepared(request: Prepare) -> Reply:
    return Prepared(request.case.id, 1_000_000, 18, 0.5, 0, ("dispatch",))


def block(request: Measure) -> Reply:
    return Block(
        case=request.case,
        kind=request.kind,
        samples=request.samples,
        elapsed_ns=50,
        readings_ns={"dispatch": 100},
        quantiles_ns={series: [10, 20, 30, 40] for series in KINDS[request.kind]},
    )


def answer(request: Request) -> Reply:
    return prepared(request) if isinstance(request, Prepare) else block(request)


def say(reply: Reply) -> None:
    shout(msgspec.json.encode(reply) + b"\n")


def shout(text: bytes) -> None:
    os.write(1, text)


def start() -> None:
    say(hello())


def number() -> int:
    """How many workers with these overrides have asked this before."""
    with (FOLDER / "workers").open("a+") as file:
        file.write("x")
        return file.tell() - 1


def serve() -> None:
    with (FOLDER / "log").open("a") as log:
        log.write(f"{os.getpid()} {DEVICE} {THREADS}\n")
    start()
    for line in sys.stdin.buffer:
        say(answer(msgspec.json.decode(line, type=Request)))


if __name__ == "__main__":
    exec(compile(Path(sys.argv[1]).read_text(), sys.argv[1], "exec"), globals())
    serve()
