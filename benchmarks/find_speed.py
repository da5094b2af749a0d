"""Speed of ``vos-find``: pictures a second, reading and writing included, and what it costs beside the bare encoder.

    python -m vos.benchmarks.find_speed
    python -m vos.benchmarks.find_speed --pictures DAVIS_ROOT/JPEGImages/480p/dog --reference dog.jpg=dog.png

Without ``--pictures`` it draws its own, as JPEG. The command reads, searches and writes them all; that it loads a model
and learns the reference, once a run, is not counted. Between two runs the encoder alone passes over the same pictures,
which are in memory then, with all threads. Prints a Markdown table, a line for each run.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from PIL import Image

from ..command.find_options import DEFAULT_SAVES, FindOptions, build_parser
from ..command.find_outputs import Entry
from ..command.find_run import FindRun
from ..command.status import exit_status
from ..engine.models import new_tracker
from ..finder import Finder
from ..readers.albums import list_pictures
from ..testing.clip import clip, discs
from . import models, speed
from .models import Models
from .pictures import read_rgb


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    options = parse(arguments)
    return exit_status("find_speed", lambda: run(options), options.traceback, "run the command again")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    models.add_options(parser)
    parser.add_argument("--pictures", nargs="+", help="as for vos-find")
    parser.add_argument("--reference", help="as for vos-find; goes with --pictures")
    parser.add_argument("--count", type=int, default=60, help="most pictures of a run (default: 60)")
    parser.add_argument("--repeats", type=int, default=3, help="number of runs (default: 3)")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    options = parser.parse_args(arguments)
    if (options.pictures is None) != (options.reference is None):
        parser.error("--pictures and --reference go together")
    return options


def run(options: argparse.Namespace) -> int:
    """Measure, and print the table.

    Raises:
        VosError: a picture or model is missing or unusable.
    """
    loaded = Models.load(options.model, options.device, loader=speed.load)
    print(f"{options.model}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| pictures | vos-find, pictures/s | ms a picture | bare encoder, ms | vos-find over encoder |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        pictures, reference = options.pictures, options.reference
        if pictures is None:
            pictures, reference = draw(Path(folder), options.count)
        files = [str(each.path) for each in list_pictures(pictures)][: options.count]
        find_all(loaded, files[:2], reference, Path(folder) / "first")  # what is only done once a process
        for index in range(options.repeats):
            encoder = encode_all(loaded, files)
            whole = find_all(loaded, files, reference, Path(folder) / str(index))
            numbers = f"{1 / whole:.1f} | {1e3 * whole:.1f} | {1e3 * encoder:.1f} | {whole / encoder:.3f}"
            print(f"| {len(files)} | {numbers} |", flush=True)
    return 0


def draw(folder: Path, count: int) -> tuple[list[str], str]:
    """Draw pictures of a clip, and a reference of its first disc; return the folder of the first, and the second."""
    photos = folder / "photos"
    photos.mkdir()
    frames = clip()
    Image.fromarray(next(frames).rgb).save(folder / "reference.png")
    Image.fromarray(discs(1).labels).save(folder / "mask.png")
    for frame in itertools.islice(frames, count):
        Image.fromarray(frame.rgb).save(photos / f"{frame.index:05d}.jpg", quality=90)
    return [str(photos)], f"{folder / 'reference.png'}={folder / 'mask.png'}"


def encode_all(loaded: Models, files: Sequence[str]) -> float:
    """Encode pictures; return the seconds of one, without those of reading it."""
    spent = 0.0
    with torch.inference_mode():
        for file in files:
            rgb = read_rgb(Path(file))
            spent += speed.seconds(loaded.segmenter.embed, rgb)
    return spent / len(files)


def find_all(loaded: Models, files: Sequence[str], reference: str, out: Path) -> float:
    """Run the command on pictures; return the seconds of one."""
    arguments = [*files, "--reference", reference, "-o", str(out), "--quiet"]
    timed = _TimedRun(build_parser().parse_args(arguments, FindOptions()), loaded)
    timed.run()
    return timed.seconds / len(files)


class _TimedRun(FindRun):
    """A run of the command whose models are loaded already.

    Attributes:
        seconds: from the first picture to the last one.
    """

    def __init__(self, options: FindOptions, loaded: Models) -> None:
        super().__init__(options, DEFAULT_SAVES.split(","))
        self._loaded = loaded
        self.seconds = 0.0

    def _finder(self) -> Finder:
        models = self._loaded
        return Finder(new_tracker(self._options.tracker), models.segmenter, models.encoder("same"), self._references)

    def _entries(self, stack: ExitStack, finder: Finder, done: dict[str, Entry]) -> list[Entry]:
        began = time.perf_counter()
        entries = super()._entries(stack, finder, done)
        self.seconds = time.perf_counter() - began
        return entries


if __name__ == "__main__":
    sys.exit(main())
