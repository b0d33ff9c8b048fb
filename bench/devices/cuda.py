"""GPUs that torch calls cuda: NVIDIA's, and AMD's where torch is built for ROCm."""

import re
from typing import Any

from .accelerator import Accelerator
from .compilers import triton_refusal
from .energy import nvml_joules
from .facts import DeviceFacts


class Cuda(Accelerator):
    kind = "cuda"
    tf32 = True
    fused = frozenset({"SGD", "Adam", "AdamW", "Adagrad"})
    capturable = True
    graphs = True
    activities = ("CPU", "CUDA")
    launch_categories = ("cuda_runtime", "cuda_driver")
    memory_type = 1

    def facts(self) -> DeviceFacts:
        import torch

        properties, hip = self.properties(), torch.version.hip
        if (reason := _no_kernels(properties, torch.cuda.get_arch_list(), hip)) is not None:
            return DeviceFacts(unavailable=reason)
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
            platform=f"CUDA {torch.version.cuda}" if hip is None else f"ROCm {_rocm()}",
            identity=self.identity(),
        )

    def drop_workspaces(self) -> None:
        import torch

        torch._C._cuda_clearCublasWorkspaces()

    def hides_graphs(self) -> str | None:
        import torch

        if torch.version.hip is None:
            return None
        return (
            "roctracer before ROCm 7.2.2 loses kernels of graphs (ROCm issue 6102), and "
            "torch brings its own: profile the case without graphs"
        )

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


def _rocm() -> str:
    """ROCm's version; HIP's, which was the same until ROCm 7, where torch tells no other."""
    import torch

    return str(getattr(torch.version, "rocm", None) or torch.version.hip)


def _no_kernels(properties: Any, built: list[str], hip: str | None) -> str | None:
    """Why this torch has no kernels for a GPU; None where it has, or does not say.

    `built` is what it was built for: machine code (sm_90), or code that the driver translates for
    newer GPUs (compute_90). Wheels leave old GPUs out, and torch only warns of it (pytorch issue
    172352). A generic target of ROCm is taken to run: which GPUs it covers is its driver's to know.
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
