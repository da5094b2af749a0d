"""Names the device that a benchmark ran on, for the head of its table."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or of the processor with the number of threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def processor_name(information: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of the processor.

    Args:
        information: the file in which Linux describes it.
    """
    described = information.read_text(encoding="utf-8") if information.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", described, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
