"""The worker: a fresh process that measures cases on request.

Run as `python -P -m bench.measure.worker DEVICE THREADS [own-threads]`, the subject's folder first
on the import path; with `own-threads` torch takes its number of threads from the environment.
Requests come on standard input and replies go to standard output, one JSON object a line. Whatever
else prints to standard output lands on standard error, so that it cannot garble a reply.
"""

import gc
import os
import sys

import msgspec

from bench.measure.protocol import OWN_THREADS, Reply, Request


def main(device: str, threads: int, own_threads: bool) -> None:
    # A quarter of the time that torch takes to be imported would go to finding no garbage in it.
    gc.disable()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Only now: torch and the subject may print while they are imported.
    from bench.measure.answers import Answers

    def say(reply: Reply) -> None:
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()

    answers = Answers(device, threads, own_threads)
    say(answers.hello())
    decode = msgspec.json.Decoder(Request).decode
    # The coordinator ends a worker by closing this stream, also when it dies itself.
    for line in sys.stdin.buffer:
        say(answers.answer(decode(line)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), OWN_THREADS in sys.argv[3:])
