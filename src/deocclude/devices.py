"""Devices and number types by the names that users give them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from deocclude.errors import InputError
from deocclude.files import human_size

OUT_OF_MEMORY = (
    "can't allocate memory",  # a CPU's allocator, which has no error of its own
    "not enough memory",  # the same on Windows
    "MPS backend out of memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What the messages of devices hold that have run out of memory."""


def checked_device(device: str | torch.device) -> torch.device:
    """The device of that name. Raises InputError for one this machine lacks."""
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device '{device}' is not available here; try cpu") from error
    return checked


def checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The type of that name; None, each stage's own, for None and "auto".

    Raises InputError for another than a floating-point type we use.
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype is None or dtype == "auto":
        return None
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in known:
        raise InputError(f"no dtype '{dtype}'; choose from auto, {', '.join(known)}")
    return known[dtype]


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it, float32 elsewhere: emulated, it would be many times slower."""
    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Torch tells of its own CPU features under names that it may change.
        tell = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
        is_fast = device.type == "cpu" and bool(tell())
    return torch.bfloat16 if is_fast else torch.float32


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on the device; None where nobody tells."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + cached  # what this process has put aside counts as taken
    return _free_memory_of_linux() if device.type == "cpu" else None


def _free_memory_of_linux(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """What the kernel would give before it swaps; None on other systems."""
    try:
        lines = meminfo.read_text("ascii").splitlines()
    except (OSError, ValueError):
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device's memory ran out, rather than anything else."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY)


@contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Turns a device's "out of memory" into an InputError that says what would fit."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        free = free_memory(device)
        there = "" if free is None else f" ({human_size(free)} free)"
        raise InputError(
            f"not enough memory on {device}{there}; --dtype bfloat16 needs half of what float32 needs, fewer "
            "--candidates less, and --preset feedforward under 1 GB"
        ) from error
