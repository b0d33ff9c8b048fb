"""A worker's side of the conversation: requests in, replies out."""

import os

import msgspec

from ..protocol.messages import OWN_THREADS, Reply, Request
from .server import Server


def serve(channel: int, device: str, threads: int, *words: str) -> None:
    """Answer requests until the runner closes its end, as it does too when it dies.

    `channel` is the file descriptor of a socket: requests come and replies go there, one JSON
    object a line. Standard input and output are left to whatever else runs in the process. With
    the word `own-threads` torch takes its number of threads from the environment.
    """
    replies = os.fdopen(channel, "wb", closefd=False)

    def send(reply: Reply) -> None:
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()

    server = Server(device, threads, OWN_THREADS in words)
    send(server.hello())
    decode = msgspec.json.Decoder(Request).decode
    for line in os.fdopen(channel, "rb"):
        send(server.answer(decode(line)))
