"""What the machine tells about a measurement: the device's name, and the memory that a call takes at its peak.

That is of a GPU by torch's own count, and of this process by the kernel's, on Linux alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def peak_memory(call: Callable[[], Any], device: torch.device) -> float | None:
    """Return the megabytes that a call takes at its peak beyond those in use before it, None where they cannot be read."""
    # Tensors of the last call that wait for the collector would count as memory of this one.
    gc.collect()
    if device.type == "cuda":
        # Work that is still queued would count as memory of this call.
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if sys.platform != "linux":
        call()
        return None
    give_back_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # resets the kernel's peak of resident memory, VmHWM
    # bytes; memory that is in use now is no part of the call's peak
    before = resident("VmRSS")
    call()
    # the kernel's counters are approximate, so the peak may read lower than what was there before
    return max(0.0, (resident("VmHWM") - before) / 1e6)


def device_name(device: torch.device) -> str:
    """Return a device's name: the GPU's, or the processor's with the threads that compute."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor_name()}, {threads} thread{'' if threads == 1 else 's'}"


def processor_name() -> str:
    """Return the processor's name as Linux has it, elsewhere its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def give_back_free_memory() -> None:
    """Give freed heap back to the system. Otherwise a call would reuse it, and its peak would look smaller than it is."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident(field: str) -> int:
    """Return the bytes of resident memory of this process, now (VmRSS) or at its peak (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}; memory is measured on Linux only")
