"""Average weight files of one network.

    python tools/average_weights.py a.safetensors b.safetensors -o lite.safetensors

The mean of two runs that start from the same weights tracks better than either; see the model card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("weights", type=Path, nargs="+")
    line.add_argument("-o", "--output", type=Path, required=True)
    options = line.parse_args()
    metadata, tensors = zip(*(read(path) for path in options.weights), strict=True)
    save_file(averaged(tensors), options.output, metadata=metadata[0])


def read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Metadata and tensors of a file."""
    with safe_open(path, "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}


def averaged(tensors: tuple[dict[str, torch.Tensor], ...]) -> dict[str, torch.Tensor]:
    """The mean of each floating-point tensor, in its own type; the others as in the first file."""
    first = tensors[0]
    if any(each.keys() != first.keys() for each in tensors):
        raise SystemExit("the files are not of one network: their tensors' names differ")
    return {
        key: torch.stack([each[key].float() for each in tensors]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }


if __name__ == "__main__":
    main()
