"""The suite's worker, which has the queued device among its kinds.

Run as `python -P worker.py LIBRARY OPERATOR_NS`, followed by the worker's file and its arguments.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main(library: str, operator_ns: str, path: str, channel: str, *words: str) -> None:
    spec = spec_from_file_location("worker", path)
    assert spec is not None and spec.loader is not None
    worker = module_from_spec(spec)
    spec.loader.exec_module(worker)
    load = worker.load

    def load_and_add(package: str, folder: str) -> None:
        load(package, folder)
        if package == "sumnet":  # the last
            sys.path.insert(0, str(Path(__file__).parents[2]))
            from bench.devices import DEVICES
            from tests import queued_device
            from tests.queued_device.device import Queued

            queued_device.load(library, int(operator_ns))
            DEVICES[Queued.kind] = Queued

    worker.load = load_and_add
    worker.main(int(channel), *words)


if __name__ == "__main__":
    main(*sys.argv[1:])
