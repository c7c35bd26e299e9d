"""Devices and number types by the names that users give them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from deocclude.errors import InputError


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


@contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Turns a device's "out of memory" into an InputError that says what would fit."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        # A CPU's allocator has no error of its own.
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        free = ""
        if device.type == "cuda":
            there, total = torch.cuda.mem_get_info(device)
            free = f" ({there / 1024**3:.1f} of {total / 1024**3:.1f} GB free)"
        raise InputError(
            f"not enough memory on {device}{free}; --dtype bfloat16 needs half of what float32 needs, fewer "
            "--candidates less, and --preset feedforward under 1 GB"
        ) from error
