"""NVIDIA's management library (NVML): its handle of a GPU, or why it tells nothing of one."""

from typing import Any

from .readings import reading

REASONS = {
    "NVMLError_LibraryNotFound": "NVML (libnvidia-ml.so.1) is missing: it comes with NVIDIA's "
    "driver, into a container by NVIDIA_DRIVER_CAPABILITIES=utility, and many Jetsons have none",
    "NVMLError_DriverNotLoaded": "NVIDIA's driver is not loaded: see `nvidia-smi`",
    "NVMLError_LibRmVersionMismatch": "NVML and NVIDIA's driver are of different versions: restart "
    "the machine",
    "NVMLError_NoPermission": "this user may not ask NVIDIA's driver: see the permissions of "
    "/dev/nvidia*",
    "NVMLError_NotFound": "NVML lists no GPU at its place on the PCI bus",
    "NVMLError_GpuIsLost": "NVIDIA's driver has lost a GPU: restart the machine",
}
"""What pynvml raises to what that means, and what to do."""
MIG = "it is a MIG instance, and what NVML shows is of its whole GPU, which other instances may use"


class Unavailable(Exception):
    """Of a GPU there are no figures to rely on; why."""


def gpu_at(bus_id: str) -> Any:
    """NVML's handle of the GPU at a PCI bus id. Raises Unavailable for none, and for a MIG parent.

    A GPU in MIG mode runs CUDA on its instances alone, whose bus id is that of the GPU.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByPciBusId(bus_id)
    except Exception as error:  # for the reason that `reading` gives
        raise Unavailable(REASONS.get(type(error).__name__) or f"NVML: {error}") from None
    # The present mode, and that after a reset. GPUs without MIG raise NotSupported.
    if reading(lambda: pynvml.nvmlDeviceGetMigMode(gpu)[0] == pynvml.NVML_DEVICE_MIG_ENABLE):
        raise Unavailable(MIG)
    return gpu
