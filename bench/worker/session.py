"""A worker's side of the conversation: requests in, replies out."""

import os
from pathlib import Path

import msgspec

from ..protocol.messages import CHECKOUT, INSTALLED, OWN_THREADS, Reply, Request
from .server import Server
from .steps import Steps


def serve(channel: int, subject: str, steps: str, device: str, threads: str, *words: str) -> None:
    """Answer requests until the runner closes its end, as it does too when it dies.

    `channel` is the file descriptor of a socket: requests come and replies go there, one JSON
    object a line. Standard input and output are left to whatever else runs in the process.
    `subject` is the folder that steps are loaded from, and `steps` the file in it that declares
    them; where that is empty, the folder holds the default step's package. Of the words,
    `own-threads` has torch take its number of threads from the environment, `installed` says that
    the interpreter has the subject installed, and `checkout=FOLDER` that it is a copy of that one.
    """
    replies = os.fdopen(channel, "wb", closefd=False)

    def send(reply: Reply) -> None:
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()

    checkouts = [Path(w.removeprefix(CHECKOUT)) for w in words if w.startswith(CHECKOUT)]
    loaded = Steps(
        Path(subject),
        steps,
        installed=INSTALLED in words,
        checkout=checkouts[0] if checkouts else None,
    )
    server = Server(loaded, device, int(threads), own_threads=OWN_THREADS in words)
    send(server.hello())
    decode = msgspec.json.Decoder(Request).decode
    for line in os.fdopen(channel, "rb"):
        send(server.answer(decode(line)))
