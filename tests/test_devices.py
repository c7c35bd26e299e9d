"""Devices: what they have free, and what is said where that is not enough."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deocclude import devices
from deocclude.devices import enough_memory, free_memory
from deocclude.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.0 GB, max allowed: 9.0 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA out of memory."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_a_devices_end_of_memory_is_one_sentence(error: RuntimeError) -> None:
    with pytest.raises(InputError, match=r"^not enough memory on cpu") as caught, enough_memory(CPU):
        raise error
    assert "--dtype bfloat16" in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_a_real_end_of_memory_is_told() -> None:
    with pytest.raises(InputError, match="not enough memory on cpu"), enough_memory(CPU):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), enough_memory(CPU):
        raise RuntimeError("shapes do not fit")


def test_what_linux_tells(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 4 kB\nMemFree: 1 kB\nMemAvailable:       3 kB\n")
    assert devices._free_memory_of_linux(tmp_path / "meminfo") == 3 * 1024
    (tmp_path / "meminfo").write_text("MemTotal: 4 kB\n")
    assert devices._free_memory_of_linux(tmp_path / "meminfo") is None
    assert devices._free_memory_of_linux(tmp_path / "nowhere") is None


def test_what_a_gpu_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process has put aside for itself can be had too."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert free_memory(torch.device("cuda")) == 130
    assert free_memory(torch.device("mps")) is None
