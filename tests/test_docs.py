"""The documents: every command in them parses, and runs unless it says what it needs; links lead somewhere.

A command that cannot be run here says so in its comment, for readers, too: ``# needs weights``, ``# needs a GPU``.
Commands that only parse are those of ``make``, ``pip``, ``python -m`` and the page, which serves until it is stopped.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
TO_RUN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""Pages whose commands are run."""

OTHERS = ("CONTRIBUTING.md", "trackers/README.md", "benchmarks/RESULTS.md", "vos/weights/MODEL_CARD.md")
TO_PARSE = [*TO_RUN, *(ROOT / name for name in OTHERS)]
"""Pages whose commands parse."""

NEEDS = re.compile(r"\bneeds (weights|a GPU|a camera|a stream|ffmpeg|a cluster|a store)\b|\btakes an hour\b")
SHELL_WORDS = {"until", "do", "done", "sleep"}
VIEWERS = {"ffplay", "ffmpeg"}
PROGRAMS = {
    "vos-track": "vos.command.cli",
    "vos-davis": "vos.benchmarks.davis",
    "vos-find": "vos.command.find",
    "vos-perseg": "vos.benchmarks.perseg",
    "vos-oneshot": "vos.benchmarks.oneshot.command",
    "vos-annotate": "vos.annotate.cli",
    "vos-batch": "vos.batch.cli",
    "vos-convert": "vos.command.convert",
}
"""Commands and the modules of their ``main``."""

SIZE = (360, 480)
"""(H, W) of the clips: the boxes and points of the documents lie inside."""

FRAMES = 4


@dataclass(frozen=True)
class Command:
    """A line of a page.

    Attributes:
        page: path below the repository.
        text: the line, continuations joined.
        words: of each program of a pipeline or loop, without words of the shell.
        environment: variables that the line sets.
        comment: what stands after ``#``.
    """

    page: str
    text: str
    words: tuple[tuple[str, ...], ...]
    environment: tuple[tuple[str, str], ...]
    comment: str

    @property
    def runs(self) -> bool:
        """Whether the tests run it: it tracks, and needs nothing that may not be here."""
        measures = ("vos-track", "vos-find", "vos-davis", "vos-perseg", "vos-oneshot")
        return not NEEDS.search(self.comment) and any(words[0] in measures for words in self.words)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of the code blocks of a page; the language of indented ones is empty."""
    fences = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for found in fences.finditer(text):
        yield found[1], found[2]
    for found in re.finditer(r"(?:(?<=\n\n)|\A)(?: {4}.*\n|\n(?= {4}))+", fences.sub("", text)):
        yield "", re.sub(r"^ {4}", "", found[0], flags=re.MULTILINE)


def commands(path: Path) -> Iterator[Command]:
    """The command lines of a page."""
    for language, content in blocks(path.read_text(encoding="utf-8")):
        if language in ("", "sh", "bash"):
            lines = re.sub(r" *\\\n\s*", " ", content).splitlines()
            yield from (parsed(path, line) for line in lines if line.strip())


def parsed(path: Path, line: str) -> Command:
    """A command line taken apart."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;")
    lexer.whitespace_split = True
    programs: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|;"):
            programs.append([])
        elif word not in SHELL_WORDS or programs[-1]:
            programs[-1].append(word)
    programs = [words for words in programs if words and words != ["10"]]  # of sleep
    environment = []
    while programs and re.fullmatch(r"[A-Z_]+=\w*", programs[0][0]):
        environment.append(tuple(programs[0].pop(0).split("=")))
    comment = line.partition(" #")[2]
    words = tuple(tuple(words) for words in programs)
    return Command(str(path.relative_to(ROOT)), line.strip(), words, tuple(environment), comment)


ALL = [command for path in TO_PARSE for command in commands(path)]
RUN = list({command.words: command for path in TO_RUN for command in commands(path) if command.runs}.values())


class Parsed(Exception):
    """Ends a command once its arguments are parsed."""


def parse_only(main, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Call a command until it has parsed its arguments; anything wrong with them fails."""
    real = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, given=None, namespace=None) -> None:
        real(self, given, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(Parsed):
        main()


@pytest.mark.parametrize("command", ALL, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_commands_parse(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for program, *arguments in command.words:
        name = program.removeprefix(".venv/bin/")
        if name in PROGRAMS:
            parse_only(importlib.import_module(PROGRAMS[name]).main, tuple(arguments), monkeypatch)
        elif name == "python":
            check_python(arguments, monkeypatch)
        elif name == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert set(arguments) <= set(targets)
        elif name == "pip":
            check_pip(arguments)
        else:
            assert name in VIEWERS or name == "pre-commit", f"{command.page}: what is {name!r} in {command.text!r}?"


def check_python(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m MODULE`` or ``python FILE``: it is there, and takes the arguments."""
    if arguments[0] != "-m":
        path = ROOT / arguments[0]
        monkeypatch.syspath_prepend(path.parent)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)  # where its dataclasses look
        spec.loader.exec_module(module)
        parse_only(module.main, tuple(arguments[1:]), monkeypatch)
    elif arguments[1] in ("vos.testing", "pytest"):  # which hand their arguments to pytest
        assert importlib.util.find_spec(arguments[1])
        assert {word for word in arguments if word.startswith("--")} <= {"--tracker", "--model", "--prior"}
    else:
        parse_only(importlib.import_module(arguments[1]).main, tuple(arguments[2:]), monkeypatch)


def check_pip(arguments: list[str]) -> None:
    """``pip install``: of files and extras that are there, or of a package by its name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert arguments[0] == "install"
    for word in arguments[1:]:
        if word.startswith(".["):
            assert set(word[2:-1].split(",")) <= set(config["options.extras_require"])
        elif word.startswith(".") or word.endswith(".txt"):
            assert (ROOT / word).exists()


def count_of(command: Command) -> int:
    """Frames that a clip must have for the command: a few after the last frame that it names."""
    named = re.findall(r"(?:--start|--first-frame|--mask-at|--gone) (\d+)", command.text)
    return FRAMES + max(map(int, named), default=0)


def ellipse(x: float, y: float, across: float, down: float) -> np.ndarray:
    """A mask (H, W) bool."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 < 1


def things(name: str) -> list[np.ndarray]:
    """What moves in a clip: two dancers, or one thing in the box that the documents give."""
    if name in ("dance.mp4", "a.png", "b.png"):
        return [ellipse(120, 150, 60, 90), ellipse(340, 150, 60, 90)]
    return [ellipse(230, 185, 105, 100)]


def frame(name: str, index: int) -> np.ndarray:
    """A frame of a clip, (H, W, 3) uint8."""
    rgb = np.random.default_rng(0).integers(60, 90, (*SIZE, 3)).astype(np.uint8)
    for number, mask in enumerate(things(name)):
        rgb[np.roll(mask, index % 3, axis=1)] = [(220, 60, 40), (240, 200, 30)][number]
    return rgb


def write(path: Path, count: int) -> None:
    """A file or folder that a command of the documents names, if it is one that tests can make."""
    if path.suffix == ".mp4":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
            stream.height, stream.width = SIZE
            stream.pix_fmt = "yuv420p"
            for index in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(path.name, index))))
            container.mux(stream.encode())
    elif path.suffix == ".png":
        mask = things(path.name)[1 if path.name == "b.png" else 0]
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    elif path.suffix == ".jpg":
        Image.fromarray(frame(path.name, 0)).save(path)
    elif path.name in ("frames", "photos"):
        path.mkdir()
        for index in range(count if path.name == "frames" else 1):
            Image.fromarray(frame(path.name, index)).save(path / f"{index:05d}.png")
    elif path.name == "labels" or path.suffix in (".xml", ".json"):
        write_labels(path)
    elif path.name in ("DAVIS_ROOT", "composites"):
        write_davis(path)
    elif path.name in ("PERSEG", "DATASETS"):
        write_pictures(path)


def results() -> list:
    """Results of a clip of a dog, as masks of it."""
    from vos.engine.merge import result_of_labels
    from vos.structures import Frame

    mask = things("dog.mp4")[0].astype(np.uint8)
    frames = [Frame(index, index / 24, frame("dog.mp4", index)) for index in range(FRAMES)]
    return [result_of_labels(each, (1,), np.roll(mask, each.index, axis=1), np.ones(1)) for each in frames]


def write_outputs(folder: Path, saves: list[str]) -> None:
    """Outputs of a clip of a dog."""
    from vos.writers.open import open_writers

    first = results()[0]
    for writer in open_writers(saves, folder, fps=24, first_frame=first.frame, object_ids=(1,)):
        for result in results():
            writer.write(result)
        writer.close()


def write_labels(path: Path) -> None:
    """True masks in a folder of PNGs, or a file of COCO or CVAT."""
    save, inside = {
        ".json": ("coco-images", "coco-images/annotations/instances_default.json"),
        ".xml": ("cvat", "cvat.xml"),
        "": ("masks", "masks"),
    }[path.suffix]
    write_outputs(path.parent / ".labels", [save])
    (path.parent / ".labels" / inside).rename(path)
    shutil.rmtree(path.parent / ".labels")


def write_davis(root: Path) -> None:
    """A data set of one sequence that is in every list the documents name."""
    images, annotations = root / "JPEGImages/480p/dog", root / "Annotations/480p/dog"
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    for index in range(FRAMES):
        Image.fromarray(frame("dog", index)).save(images / f"{index:05d}.jpg")
        mask = Image.fromarray(np.roll(things("dog")[0], index % 3, axis=1).astype(np.uint8))
        mask.putpalette([0, 0, 0, 128, 0, 0])
        mask.save(annotations / f"{index:05d}.png")
    for year in ("2016", "2017"):
        (root / "ImageSets" / year).mkdir(parents=True)
        for name in ("dev.txt", "val.txt", "composites.txt"):
            (root / "ImageSets" / year / name).write_text("dog\n")


def write_pictures(root: Path) -> None:
    """One object of PerSeg, and one class of FSS-1000."""
    images, masks, data = root / "Images/dog", root / "Annotations/dog", root / "FSS-1000/data/dog"
    for folder in (images, masks, data, root / "FSS-1000/splits"):
        folder.mkdir(parents=True)
    (root / "FSS-1000/splits/test.txt").write_text("dog\n")
    for index in range(3):
        rgb = Image.fromarray(frame("dog", index))
        mask = Image.fromarray(np.roll(things("dog")[0], index % 3, axis=1).astype(np.uint8) * 255)
        for picture, drawn in ((images / f"{index:02d}", masks / f"{index:02d}"), (data / f"{index + 1}",) * 2):
            rgb.save(f"{picture}.jpg")
            mask.save(f"{drawn}.png")


@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_commands_run(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_fit: None) -> None:
    if "--points" in command.text:
        pytest.importorskip("cv2")
    assert len(command.words) == 1, f"{command.text!r}: a pipeline is not run; say what it needs"
    [(program, *arguments)] = command.words
    live = re.search(r"^(\d+|-|\w+:.*)$", arguments[0])
    assert not live, f"{command.text!r}: a camera, a stream or standard input; say what it needs"
    for name in {part.rstrip("/") for word in arguments for part in re.split("[=@]", word)}:
        write(tmp_path / name, count_of(command))
    monkeypatch.chdir(tmp_path)
    for variable, value in command.environment:
        monkeypatch.setenv(variable, value)
    before = {path.name for path in tmp_path.iterdir()}
    assert importlib.import_module(PROGRAMS[program]).main(arguments) == 0
    [out] = {path.name for path in tmp_path.iterdir()} - before
    assert (tmp_path / out / "run.json").exists()


CONVERSIONS = [
    command
    for path in TO_RUN
    for command in commands(path)
    if command.words and command.words[0][0] == "vos-convert" and not NEEDS.search(command.comment)
]


@pytest.mark.parametrize("command", CONVERSIONS, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_conversions_run(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, package in (
        ("exr", "OpenEXR"),
        ("yolo", "supervision"),
        ("labelme", "supervision"),
        ("coco", "pycocotools"),
    ):
        if name in command.text:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dog.mp4", FRAMES)
    write_outputs(tmp_path / "dog-vos", ["masks", "csv"])
    Path("dog-vos/run.json").write_text(json.dumps({"options": {"video": "dog.mp4"}, "frames": FRAMES}))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    [(_, *arguments)] = command.words
    assert importlib.import_module(PROGRAMS["vos-convert"]).main(arguments) == 0
    assert {path for path in tmp_path.rglob("*") if path.is_file()} - before


BATCHES = [
    command
    for path in TO_RUN
    for command in commands(path)
    if command.words and command.words[0][0] == "vos-batch" and not NEEDS.search(command.comment)
]


class InThisProcess:
    """Stands in for the worker processes of ``vos-batch``, which take seconds to start."""

    def __init__(self, kind: type, count: int, gpus: int = 0) -> None:
        self._worker = kind()
        self._told: list = []
        self.workers = ["1"]

    def give(self, worker: str, request: dict) -> None:
        from vos.batch.scheduler import Event
        from vos.batch.serve import answer

        told = answer(self._worker, request)
        self._told.append(Event(worker, told["outcome"], told["reply"], told["error"]))

    def wait(self, timeout_s: float) -> list:
        told, self._told = self._told, []
        return told

    def close(self) -> None:
        """There is nothing to end."""


@pytest.mark.parametrize("command", BATCHES, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_batches_run(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the manifests of docs/batch.md."""
    monkeypatch.setattr("vos.batch.local.LocalExecutor", InThisProcess)
    monkeypatch.chdir(tmp_path)
    for folder, suffix in (("clips", "mp4"), ("masks", "png")):
        Path(folder).mkdir()
        for name in ("dog", "cat", "dance"):
            write(tmp_path / folder / f"{name}.{suffix}", FRAMES)
    for language, content in blocks((ROOT / "docs/batch.md").read_text(encoding="utf-8")):
        if language in ("csv", "jsonl"):
            Path(f"videos.{language}").write_text(content)
    [(_, *arguments)] = command.words
    assert importlib.import_module(PROGRAMS["vos-batch"]).main([*arguments, "--max-frames", "2"]) == 0
    assert list(tmp_path.glob("results/report*.csv"))


def python_blocks() -> list[tuple[str, str]]:
    """Page and content of the Python blocks."""
    return [
        (str(path.relative_to(ROOT)), content)
        for path in TO_RUN
        for language, content in blocks(path.read_text(encoding="utf-8"))
        if language == "python"
    ]


@pytest.mark.parametrize(("page", "content"), python_blocks(), ids=lambda text: text[:30].replace("\n", " "))
def test_python_runs(page: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_fit: None) -> None:
    """Of what needs a camera or a stream only the syntax is checked."""
    import vos

    ast.parse(content)
    if "rtsp:" in content or "/dev/video" in content:
        return
    if "to_supervision" in content:
        pytest.importorskip("supervision")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "video.mp4", FRAMES)
    write(tmp_path / "m.png", FRAMES)
    write(tmp_path / "labels", FRAMES)
    rgb, mask = frame("video.mp4", 0), things("video.mp4")[0]
    names = {"rgb": rgb, "first_mask": mask, "mask": mask, "frame": vos.Frame(1, 0.04, rgb)}
    exec(compile(content, page, "exec"), names)
    assert names["result"].frame.index > 0


def slugs(path: Path) -> set[str]:
    """Anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", [*TO_PARSE, ROOT / "CHANGELOG.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "http://")):
            name, _, anchor = target.partition("#")
            page = path.parent / name if name else path
            assert page.exists(), target
            assert not anchor or anchor in slugs(page), target
    made_later = {"docs/tested-on.md"}
    for name in re.findall(r"`((?:vos|trackers|benchmarks|tools|tests|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists() or name in made_later or name.endswith("/x.py"), name


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or a part of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        with suppress(ModuleNotFoundError):
            found = importlib.import_module(".".join(parts[:count]))
            *inner, last = parts[count:] or ["__name__"]
            for part in inner:
                found = getattr(found, part)
            return hasattr(found, last) or last in found.__annotations__
    return False


def test_names_in_docstrings_lead_somewhere() -> None:
    """Of those written out in full, as in :func:`vos.track`; the API reference makes links of them."""
    paths = [path for folder in ("vos", "trackers", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    role = re.compile(r":\w+:`~?(vos\.[\w.]+)`")
    names = {(name, path) for path in paths for name in role.findall(path.read_text(encoding="utf-8"))}
    assert names
    assert not [(name, str(path)) for name, path in sorted(names) if not exists(name)]


def test_the_map_shows_the_layers_that_the_tests_hold() -> None:
    spec = importlib.util.spec_from_file_location("house", ROOT / "tests/test_house.py")
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    rows = re.findall(
        r"^\| (\d+) \| ([^|]*) \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    shown = {(int(layer), Path(name).stem) for layer, names in rows for name in re.findall(r"`([^`]+)`", names)}
    assert shown == {(layer, room) for layer, rooms in enumerate(house.LAYERS, start=1) for room in rooms}


def test_every_page_is_in_the_index() -> None:
    text = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in text, path.name


def test_the_commands_of_the_documents_were_found() -> None:
    assert len(ALL) > 50 and len(RUN) > 12
    assert {command.words[0][0] for command in ALL} >= {*PROGRAMS, "python", "make", "pip"}
