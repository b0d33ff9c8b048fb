"""The queued device as a kind of device of the suite."""

from bench.devices.accelerator import Accelerator
from bench.devices.facts import DeviceFacts
from tests.queued_device import KIND


class Queued(Accelerator):
    kind = KIND

    def facts(self) -> DeviceFacts:
        return DeviceFacts(
            name="a thread",
            memory_bytes=2**30,
            compile_refusal=f"torch.compile makes no code for {KIND}",
        )
