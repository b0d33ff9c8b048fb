"""What a worker finds out about a machine before it measures: its torch, its cores, its devices."""

from typing import Self

import msgspec

from ..figures import Count


def place_of(device: str) -> tuple[str, int]:
    """A device's kind and its index among those of that kind, for example of `cuda:1`."""
    kind, _, index = device.partition(":")
    return kind, int(index or 0)


class DeviceFacts(msgspec.Struct, frozen=True):
    """What is known of one device."""

    unavailable: str | None = None
    """Why it cannot be measured here, or None where it can."""
    name: str = ""
    memory_bytes: Count = 0
    """0 where it is unavailable, and then no case is too large."""
    refused_dtypes: dict[str, str] = {}
    """Value of the dtype axis to the reason it cannot be had."""
    compile_refusal: str | None = None
    """Why torch.compile cannot be had."""
    platform: str = ""
    """What drives it, for example "CUDA 13.0" or "ROCm 6.4"; empty where there is one choice."""
    identity: str = ""
    """Tells it from others of its name; empty where nothing does."""


class Facts(msgspec.Struct, frozen=True):
    """What the rules need to know of a machine, as its torch sees it."""

    torch: str
    cores: Count
    """Cores this process may run on."""
    isolates_compiled: bool
    """Whether this torch can keep several compiled loops apart in one process."""
    devices: dict[str, tuple[DeviceFacts, ...]]
    """By kind, and by index among those of a kind; at least one of each kind, perhaps unavailable.
    """
    thread_limit: Count | None = None
    """Threads this process may work with at once, None where nothing limits them."""

    def of(self, device: str) -> DeviceFacts:
        """Of a device by its name, such as `cuda:1`; unavailable where it is not there."""
        kind, index = place_of(device)
        there = self.devices[kind]
        if index < len(there):
            return there[index]
        if all(facts.unavailable is not None for facts in there):
            return there[0]
        reason = f"there is no {device} here: the last is {kind}:{len(there) - 1}"
        return DeviceFacts(unavailable=reason)

    def without(self, device: str, reason: str) -> Self:
        """The same but for a device that is there and, for this reason, cannot be used."""
        kind, index = place_of(device)
        there = list(self.devices[kind])
        there[index] = DeviceFacts(unavailable=reason)
        return msgspec.structs.replace(self, devices={**self.devices, kind: tuple(there)})
