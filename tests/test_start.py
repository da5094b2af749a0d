"""What is imported, and when: ``--help`` waits for nothing, and a run with ``lite`` for torch alone.

Held by what is in ``sys.modules`` after each step of one process, as times would depend on the machine.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from vos.testing.clip import clip, disc_labels

SIZE = (48, 80)

STEPS = """
import sys


def absent(*names):
    loaded = {name.partition(".")[0] for name in sys.modules} | set(sys.modules)
    assert not loaded & set(names), sorted(loaded & set(names))


import vos

absent("torch", "numpy", "PIL", "av")
from vos.command.cli import main
from vos.command.options import build_parser

build_parser().format_help()
absent("torch", "numpy", "PIL", "av")
vos.open_session(device="cpu")
assert main(sys.argv[1:]) == 0
assert "torch" in sys.modules
absent("transformers", "huggingface_hub", "scipy", "cv2", "decord", "sympy", "torch._dynamo")
absent("segment_anything", "torchvision", "timm", "cutie", "omegaconf", "vos.trackers.cutie", "vos.trackers.sam2")
absent("gradio", "starlette", "matplotlib", "pycocotools", "supervision", "skimage", "pytest", "hypothesis")
"""


def test_each_step_imports_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for frame, _ in zip(clip(SIZE), range(2), strict=False):
        Image.fromarray(frame.rgb).save(tmp_path / "frames" / f"{frame.index}.png")
    Image.fromarray(disc_labels(SIZE, 1)).save(tmp_path / "mask.png")
    line = ["frames", "--first-mask", "mask.png", "-o", "out", "--save", "masks,csv", "--device", "cpu", "--quiet"]
    command = [sys.executable, "-c", STEPS, *line]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out/masks").iterdir())) == 2
