"""The sizes of models that docs/models.md names are those that the models have."""

from __future__ import annotations

import re
from pathlib import Path

from vos.benchmarks.parameters import counted

PAGE = Path(__file__).parent.parent / "docs/models.md"
ROWS = {
    "SAM": "SAM B, L, H",
    "SAM-HQ": "SAM-HQ B, L, H",
    "SAM 2.1": "SAM 2.1 tiny, small, base-plus, large",
    "EfficientSAM": "EfficientSAM Ti, S",
    "DINOv2": "DINOv2 S, B, L, g; with registers",
    "DINOv2 with registers": "DINOv2 S, B, L, g; with registers",
    "DINOv3": "DINOv3 S, B, L, H+, 7B",
    "DINOv3 ConvNeXt": "DINOv3 ConvNeXt T, S, B, L",
    "CLIP": "CLIP B/16, L/14",
    "SigLIP 2": "SigLIP 2 B, L, So400m, g",
    "Grounding DINO": "Grounding DINO tiny",
    "tracker sam3": "tracker `sam3`",
}
"""First cells of the table's rows by family."""


def test_the_page_has_the_parameters_that_are_counted() -> None:
    cells = [[cell.strip() for cell in line.split("|")] for line in PAGE.read_text(encoding="utf-8").splitlines()]
    told = {row[1]: [int(each) for each in re.findall(r"\d+", row[3])] for row in cells if len(row) == 6}
    found: dict[str, list[int]] = {}
    for family, _, count in counted():
        found.setdefault(family, []).append(round(count / 1e6))
    assert found == {family: told[row] for family, row in ROWS.items()}
