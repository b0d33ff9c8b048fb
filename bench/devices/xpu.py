"""Intel's GPUs, through torch.xpu. Written from torch's sources and never run on one."""

from .accelerator import Accelerator
from .compilers import triton_refusal
from .facts import DeviceFacts


class Xpu(Accelerator):
    kind = "xpu"
    # torch-xpu-ops pulls 879 and 1075; Adagrad's kernel came later than the oldest torch.
    fused = frozenset({"SGD", "Adam", "AdamW"})
    capturable = True
    activities = ("CPU", "XPU")
    launch_categories = ("xpu_runtime", "xpu_driver")
    memory_type = 12

    def facts(self) -> DeviceFacts:
        properties = self.properties()
        refused = {}
        if not properties.has_fp64:
            refused["float64"] = f"{properties.name} has no units for float64"
        return DeviceFacts(
            name=properties.name,
            memory_bytes=properties.total_memory,
            refused_dtypes=refused,
            compile_refusal=triton_refusal(properties.name),
            platform=f"driver {properties.driver_version}",
            identity=self.identity(),
        )
