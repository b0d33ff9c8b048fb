"""NVML's handle of a GPU: who has none, and whose figures are another's."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench.devices.nvml import REASONS, Unavailable, gpu_at

BUS_ID = "0000:3B:00.0"
BENCH = Path(__file__).parents[2] / "bench"


def raising(code: int) -> Callable[..., Any]:
    def ask(*arguments: Any) -> Any:
        raise pynvml.NVMLError(code)

    return ask


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a GPU in reach that is not in MIG mode; `changes` replace functions of the driver."""

    def install(**changes: Any) -> None:
        told: dict[str, Any] = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetHandleByPciBusId": {BUS_ID: "the GPU"}.__getitem__,
            "nvmlDeviceGetMigMode": lambda gpu: [0, 1],  # enabled by the next reset
        }
        for name, function in {**told, **changes}.items():
            monkeypatch.setattr(pynvml, name, function)

    install()
    return install


@pytest.mark.parametrize(
    "without_mig", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND]
)
def test_gpu_is_found_by_its_bus_id(without_mig: int, driver: Callable[..., None]) -> None:
    assert gpu_at(BUS_ID) == "the GPU"
    driver(nvmlDeviceGetMigMode=raising(without_mig))
    assert gpu_at(BUS_ID) == "the GPU"


def test_of_a_mig_instance_nothing_is_told(driver: Callable[..., None]) -> None:
    driver(nvmlDeviceGetMigMode=lambda gpu: [1, 1])
    with pytest.raises(Unavailable, match="MIG instance"):
        gpu_at(BUS_ID)


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetHandleByPciBusId"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "NVIDIA_DRIVER_CAPABILITIES=utility"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "driver is not loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "different versions"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "/dev/nvidia"),
        (pynvml.NVML_ERROR_NOT_FOUND, "no GPU at its place"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "lost a GPU"),
        (pynvml.NVML_ERROR_NOT_SUPPORTED, "NVML: Not Supported"),
        (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, "NVML: Function Not Found"),
    ],
)
def test_driver_that_is_not_there_says_why(
    code: int, words: str, function: str, driver: Callable[..., None]
) -> None:
    driver(**{function: raising(code)})
    with pytest.raises(Unavailable, match=words):
        gpu_at(BUS_ID)


def test_reasons_are_of_errors_that_pynvml_has() -> None:
    assert all(issubclass(getattr(pynvml, name), pynvml.NVMLError) for name in REASONS)


def test_names_that_are_asked_for_are_those_of_the_bindings() -> None:
    """Whatever a question raises is unavailable, a misspelt name too."""
    text = "".join(path.read_text() for path in BENCH.rglob("*.py"))
    names = set(re.findall(r'(?:nvml\.|")(nvml[A-Z]\w+|NVML_\w+)', text))
    assert {"nvmlInit", "nvmlDeviceGetPowerUsage", "NVML_CLOCK_SM"} <= names
    assert [name for name in sorted(names) if not hasattr(pynvml, name)] == []
