"""GPUs that torch calls cuda: NVIDIA's, and AMD's where torch is built for ROCm."""

import re
from typing import Any

from bench.devices.accelerator import Accelerator
from bench.devices.compilers import triton_refusal
from bench.devices.energy import nvml_joules
from bench.devices.facts import DeviceFacts


class Cuda(Accelerator):
    kind = "cuda"
    fused = frozenset({"SGD", "Adam", "AdamW", "Adagrad"})
    capturable = True
    graphs = True
    activities = ("CPU", "CUDA")
    launch_categories = ("cuda_runtime", "cuda_driver")
    kernel_categories = ("kernel", "gpu_memcpy", "gpu_memset")
    memory_type = 1

    def facts(self) -> DeviceFacts:
        import torch

        properties, hip = self.properties(), torch.version.hip
        if (reason := _no_kernels(properties, torch.cuda.get_arch_list(), hip)) is not None:
            return DeviceFacts(unavailable=reason, name=properties.name)
        refused = {}
        if properties.major < 8 and hip is None:
            refused = {
                "tf32": f"{properties.name} has no matrix units for tf32",
                "bfloat16": f"{properties.name} only emulates bfloat16",
                "amp-bfloat16": f"{properties.name} only emulates bfloat16",
            }
        capability = (properties.major, properties.minor) if hip is None else None
        return DeviceFacts(
            name=properties.name,
            memory_bytes=properties.total_memory,
            refused_dtypes=refused,
            compile_refusal=triton_refusal(properties.name, capability),
            platform=f"CUDA {torch.version.cuda}" if hip is None else f"ROCm {hip}",
            identity=self.identity(),
        )

    def hides_graphs(self) -> str | None:
        import torch

        if torch.version.hip is None:
            return None
        return (
            "ROCm's roctracer loses kernels that a graph launches (ROCm issue 6102): "
            "profile the case without graphs"
        )

    def warm_up(self) -> None:
        """For each thread and stream, cuBLAS keeps a workspace from its first use on (8 MiB, 32 on
        Hopper; pytorch issue 95668): the forward pass has this thread's, the backward pass that of
        autograd's own. Where there is a bias, cuBLASLt may have one more.
        """
        import torch

        square = torch.ones(8, 8, device=torch.device(self.kind, self.index), requires_grad=True)
        loss = torch.nn.functional.linear(square, square @ square, square[0]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self.synchronize()

    def joules(self) -> float | None:
        where = self.bus_id()
        return None if where is None else nvml_joules(where)

    def bus_id(self) -> str | None:
        import torch

        properties = self.properties()
        if torch.version.hip is not None:
            return None  # whose tools are others
        return (
            f"{properties.pci_domain_id:08x}:{properties.pci_bus_id:02x}:"
            f"{properties.pci_device_id:02x}.0"
        )


def _no_kernels(properties: Any, built: list[str], hip: str | None) -> str | None:
    """Why this torch has no kernels for a GPU; None where it has, or does not say.

    `built` is what it was built for: machine code (sm_90), or code that the driver translates for
    newer GPUs (compute_90). Wheels leave old GPUs out, and torch only warns of it (pytorch issue
    172352).
    """
    if hip is None:
        own = f"sm_{properties.major}{properties.minor}"
        runs = any(_runs_on(arch, properties.major, properties.minor) for arch in built)
    else:
        own = properties.gcnArchName.partition(":")[0]
        runs = own in built or any(arch.endswith("generic") for arch in built)
    if runs or not built:
        return None
    return f"this torch was built for {', '.join(built)}, not for {properties.name} ({own})"


def _runs_on(arch: str, major: int, minor: int) -> bool:
    """Whether code for an architecture, such as sm_90a, runs on a GPU of this capability.

    Machine code does within its major version, the suffix "a" means that GPU alone, "f" its family
    (CUDA C++ Programming Guide, "Application Compatibility").
    """
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if found is None:
        return False
    code, own, target, suffix = found[1], (major, minor), (int(found[2]), int(found[3])), found[4]
    if suffix == "a":
        return own == target
    if code == "sm" or suffix == "f":
        return own[0] == target[0] and own >= target
    return own >= target
