"""Frames/s of ``lite``, Cutie, SAM 2 and EdgeTAM on the same drawn frames through one engine, in turns.

    python -m vos.benchmarks.peers --objects 1
    python -m vos.benchmarks.peers --objects 3 --peers lite cutie-small cutie-base

Prints a Markdown table. Only steps are timed: no reading, no first mask, no writing. Each tracker has its turn for a
while, then the next, and so on for several rounds, so that whatever else slows the machine slows all of them. The
weights of the others are random, of the published sizes: they take as long as trained ones, and their masks mean
nothing. A peer that this environment cannot build is named with the reason.

``lite`` chooses its precision by the processor, and the environment variable ``VOS_LITE_DTYPE`` overrides that; the
others run in float32 on a processor unless ``--dtype`` says otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..engine.device import DTYPES
from ..engine.models import new_tracker
from ..private_api import fast_dtype
from ..structures import Frame
from ..testing.clip import clip, discs
from .machine import device_name
from .models import Models
from .speed import started

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

LITE = "lite"
"""The bundled model with the tracker ``persam``, to which the others are compared."""

LOOP = 31
"""Frames of the drawn clip after which it begins anew: one period of its movement."""

HEAD = "| tracker | parameters, millions | objects | ms a step | frames/s | `lite` over it |"
"""Columns of the table."""


@dataclass(frozen=True)
class Pace:
    """How fast a tracker was.

    Attributes:
        frames_per_s: the median of its turns.
        lite_over_it: ``lite``'s frames/s as a multiple of these, the median of the rounds.
    """

    frames_per_s: float
    lite_over_it: float


@dataclass(frozen=True)
class Built:
    """A tracker that can be measured.

    Attributes:
        tracker: its name, with a file or folder of random weights after a colon.
        parameters: number of its network's parameters.
    """

    tracker: str
    parameters: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    models = Models.load(LITE, options.device, options.dtype)
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    height, width = options.size
    precisions = f"peers in {short(models.dtype)}, {LITE} in {short(fast_dtype(models.device))}"
    say(f"{device_name(models.device)}, torch {torch.__version__}, {precisions}, frames of {width} x {height}\n")
    say(f"{HEAD}\n{'|---' * HEAD.count(' | ')}|---|")
    with tempfile.TemporaryDirectory() as folder:
        built: dict[str, Built] = {}
        for name in options.peers:
            try:
                built[name] = PEERS[name](Path(folder))
            except ImportError as error:
                reason = " ".join(str(error).split()).partition(". ")[0]
                say(f"| {name} | | | not built: {reason} | | |")
        for count in options.objects:
            steps = {name: stepping(models, each.tracker, count, (height, width)) for name, each in built.items()}
            for name, pace in paces(in_turns(steps, options.warm_up, options.rounds, options.seconds)).items():
                rate, ratio = pace.frames_per_s, pace.lite_over_it
                size = f"{built[name].parameters / 1e6:.1f}"
                say(f"| {name} | {size} | {count} | {1e3 / rate:.1f} | {rate:.2f} | {ratio:.1f} |")
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help=f"{LITE} must be one of them")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help=f"of the others; not of {LITE}")
    parser.add_argument("--threads", type=int, help="of torch (default: as many as it takes by itself)")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854), metavar=("H", "W"), help="of the frames")
    parser.add_argument("--warm-up", type=int, default=8, help="steps of each before the first turn: memories fill")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of a turn, which has one step at least")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    options = parser.parse_args(arguments)
    if LITE not in options.peers:
        parser.error(f"--peers: {LITE} must be one of them, as the others are compared with it")
    return options


def stepping(models: Models, tracker: str, count: int, size: tuple[int, int]) -> Callable[[], object]:
    """Start a session on the drawn clip's first frame.

    Args:
        models: device and precision of all sessions.
        tracker: its name.
        count: number of objects.
        size: (H, W) of the frames.

    Returns:
        A function that makes one step, into the next frame.
    """
    frames: Iterator[Frame] = itertools.cycle(list(itertools.islice(clip(size), LOOP)))
    session = started(models, new_tracker(tracker), next(frames), discs(count, size))
    return lambda: session.step(next(frames))


def in_turns(
    steps: Mapping[str, Callable[[], object]], warm_up: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Let each make steps for a while, one after the other, for some rounds.

    Args:
        steps: makes one step, by name.
        warm_up: steps of each before the first round.
        rounds: turns of each.
        seconds: after which a turn ends, once the step that was begun is done.

    Returns:
        Frames/s of each turn, by name.
    """
    for step in steps.values():
        for _ in range(warm_up):
            step()
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began, count, taken = time.perf_counter(), 0, 0.0
            while not count or taken < seconds:
                step()
                count, taken = count + 1, time.perf_counter() - began
            rates[name].append(count / taken)
    return rates


def paces(rates: Mapping[str, Sequence[float]]) -> dict[str, Pace]:
    """Sum up the turns.

    Args:
        rates: frames/s of each turn, by name; ``lite`` is among them, and each round has a turn of each.
    """
    return {
        name: Pace(
            statistics.median(turns),
            statistics.median(lite / own for lite, own in zip(rates[LITE], turns, strict=True)),
        )
        for name, turns in rates.items()
    }


def bundled(folder: Path) -> Built:
    """Name the tracker of ``lite``; the segmenter of all sessions is that of :class:`.Models`."""
    from ..segmenters.lite import LiteSegmenter

    network = LiteSegmenter.load(LITE, torch.device("cpu"), torch.float32).network
    return Built("persam", size_of(network))


def random_cutie(size: str, folder: Path) -> Built:
    """Write random weights of Cutie.

    Args:
        size: ``base`` or ``small``.
        folder: where to put the file.

    Raises:
        ImportError: the package ``rf-cutie`` is not installed.
    """
    from cutie.model.cutie import CUTIE

    from ..trackers.cutie import configuration, without_downloads

    torch.manual_seed(0)
    with without_downloads():
        network = CUTIE(configuration(size))
    path = folder / f"cutie-{size}.pth"
    torch.save(network.state_dict(), path)
    return Built(f"cutie:{path}", size_of(network))


def random_video_model(name: str, folder: Path) -> Built:
    """Write random weights of SAM 2 tiny or EdgeTAM.

    Args:
        name: ``sam2`` or ``edgetam``.
        folder: where to put a folder.

    Raises:
        ImportError: the package ``timm``, from which EdgeTAM's image encoder comes, is not installed.
    """
    import transformers

    classes = {"sam2": transformers.Sam2VideoModel, "edgetam": transformers.EdgeTamVideoModel}
    torch.manual_seed(0)
    model = classes[name](CONFIGURATIONS[name]())
    path = folder / name
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(path)
    return Built(f"{name}:{path}", size_of(model))


def sam2_tiny() -> PreTrainedConfig:
    """Make the configuration of SAM 2 tiny: the library's default."""
    from transformers import Sam2VideoConfig

    return Sam2VideoConfig()


def edgetam() -> PreTrainedConfig:
    """Make the configuration of EdgeTAM, whose image encoder is RepViT-M1."""
    from transformers import EdgeTamVideoConfig, EdgeTamVisionConfig, TimmWrapperConfig

    maps = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    backbone = TimmWrapperConfig(architecture="repvit_m1.dist_in1k", model_args=maps)
    return EdgeTamVideoConfig(vision_config=EdgeTamVisionConfig(backbone_config=backbone))


def short(dtype: torch.dtype) -> str:
    """Return the name of a precision."""
    return str(dtype).removeprefix("torch.")


def size_of(network: nn.Module) -> int:
    """Count the parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


CONFIGURATIONS: dict[str, Callable[[], PreTrainedConfig]] = {"sam2": sam2_tiny, "edgetam": edgetam}
"""Configurations of the models of ``transformers``, by tracker."""

PEERS: dict[str, Callable[[Path], Built]] = {
    LITE: bundled,
    "cutie-small": lambda folder: random_cutie("small", folder),
    "cutie-base": lambda folder: random_cutie("base", folder),
    "sam2-tiny": lambda folder: random_video_model("sam2", folder),
    "edgetam": lambda folder: random_video_model("edgetam", folder),
}
"""Writes the weights of a peer into a folder, by the name in the table."""


if __name__ == "__main__":
    main()
