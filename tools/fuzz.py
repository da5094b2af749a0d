"""Feed broken masks, pictures and videos to the readers, which must accept each one or refuse it in one line.

    python tools/fuzz.py masks --examples 10000
    python tools/fuzz.py pictures --examples 5000
    python tools/fuzz.py videos --examples 500

The inputs are the same in every run. Memory may grow by 1 GB. Each input has a time limit, after which the
process ends and prints its stack. The last input stays on disk; after a failure it is the smallest one
that fails. Needs hypothesis, and a system with resource limits.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import faulthandler
import io
import itertools
import logging
import resource
import struct
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from vos.engine.merge import result_of_labels
from vos.errors import InputError, VosError
from vos.readers.first_mask import load_first_mask
from vos.readers.open import open_reader
from vos.writers.open import open_writers
from vos.writers.thread import WriterThread

GROWTH = 1 << 30
"""Bytes by which memory may grow while an input is read."""

SECONDS = {"masks": 20, "pictures": 20, "videos": 60}
"""Time limit for one input, with room for a busy machine."""

SIZE = (24, 32)
"""(H, W) of the valid masks and videos."""

MOST_FRAMES = 40
"""Number of frames that are read of a video."""

_ARENA_MAX = -8
"""``M_ARENA_MAX`` of malloc.h."""

ODD_NUMBERS = (0, 1, 2, 7, 16, 31, 255, 256, 8191, 8192, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
"""Numbers that readers tend to get wrong."""

CHUNKS = tuple(b"IHDR PLTE tRNS IDAT IEND iCCP zTXt iTXt tEXt gAMA cHRM pHYs acTL fcTL fdAT eXIf sBIT zzZZ".split())
"""Types of PNG chunks, and one that does not exist."""

BOMB = zlib.compress(bytes(64 << 20))
"""64 MB of zeros, compressed."""

Chunks = list[tuple[bytes, bytes]]
"""Types and contents of a PNG's chunks."""


# -- masks ------------------------------------------------------------------------------------------


def whole_masks() -> list[bytes]:
    """Make valid masks of every kind that is accepted: PNGs, and JPEGs at the end."""
    labels = np.zeros(SIZE, np.uint8)
    labels[4:12, 4:14], labels[14:20, 10:30] = 1, 2
    grey = (labels == 1).astype(np.uint8) * np.uint8(255)
    indexed = Image.fromarray(labels)
    indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    rgb = np.where(labels[..., None] == 1, np.uint8([128, 0, 0]), np.uint8(0))
    colours = np.uint8([[0, 0, 0], [10, 200, 30], [255, 60, 0]])[labels]
    soft = Image.fromarray(grey).filter(ImageFilter.GaussianBlur(1))
    shuffled = Image.fromarray(2 - labels)
    shuffled.putpalette([0, 128, 0, 128, 0, 0, 0, 0, 0])
    images = [
        indexed,
        Image.fromarray(labels),
        Image.fromarray(grey).convert("1"),
        Image.fromarray(labels.astype(np.uint16)),
        Image.fromarray(rgb),
        Image.fromarray(np.dstack([rgb, grey])),
        Image.fromarray(np.dstack([grey, grey]), "LA"),
        soft,
        Image.fromarray(np.array(soft).astype(np.uint16) * 257),
        Image.fromarray(labels.astype(np.uint16) * 1000),
        Image.fromarray(colours),
        Image.fromarray(colours).filter(ImageFilter.GaussianBlur(1)),
        Image.fromarray(np.dstack([np.roll(colours, 3, axis=1), np.array(soft)])),
        shuffled,
        soft.quantize(16),
    ]
    photographed = [soft, Image.fromarray(grey), Image.fromarray(colours)]
    return [_saved(image) for image in images] + [_saved(image, "JPEG") for image in photographed]


def _saved(image: Image.Image, kind: str = "PNG") -> bytes:
    with tempfile.TemporaryFile() as file:
        image.save(file, format=kind)
        file.seek(0)
        return file.read()


def chunks_of(png: bytes) -> Chunks:
    """Split a valid PNG into its chunks."""
    chunks, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def broken_mask(png: bytes, rng: Random) -> bytes:
    """Damage a PNG's chunks, mostly with correct checksums, and then sometimes its bytes; of a JPEG its bytes."""
    if not png.startswith(b"\x89PNG"):
        return broken_bytes(png, rng, rng.randrange(4))
    chunks = chunks_of(png)
    for _ in range(rng.randrange(4)):
        rng.choice((_new_header, _new_chunk, _move_chunk, _damaged_chunk, _new_pixels))(chunks, rng)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in chunks:
        length = len(content) if rng.randrange(30) else rng.choice(ODD_NUMBERS)
        check = zlib.crc32(kind + content) if rng.randrange(30) else 0
        parts.append(struct.pack(">I", length) + kind + content + struct.pack(">I", check))
    return broken_bytes(b"".join(parts), rng) if rng.randrange(3) == 0 else b"".join(parts)


def _new_header(chunks: Chunks, rng: Random) -> None:
    sides = [rng.choice((*SIZE, *ODD_NUMBERS)) for _ in range(2)]
    rest = rng.choice((1, 2, 4, 8, 16, rng.randrange(256))), rng.choice((0, 2, 3, 4, 6, rng.randrange(256)))
    methods = [rng.choice((0, 0, 0, 1, 255)) for _ in range(3)]
    chunks[0] = b"IHDR", struct.pack(">IIBBBBB", *sides, *rest, *methods)


def _new_chunk(chunks: Chunks, rng: Random) -> None:
    content = rng.choice((rng.randbytes(rng.randrange(80)), b"name\0\0" + BOMB, BOMB, bytes(768), bytes(26)))
    chunks.insert(rng.randrange(len(chunks) + 1), (rng.choice(CHUNKS), content))


def _move_chunk(chunks: Chunks, rng: Random) -> None:
    taken = chunks.pop(rng.randrange(len(chunks)))
    for _ in range(rng.randrange(3)):
        chunks.insert(rng.randrange(len(chunks) + 1), taken)
    chunks[:] = chunks or [taken]


def _damaged_chunk(chunks: Chunks, rng: Random) -> None:
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    chunks[place] = kind, broken_bytes(content, rng)


def _new_pixels(chunks: Chunks, rng: Random) -> None:
    pixels = rng.randbytes(rng.randrange(1, 3000))
    place = rng.randrange(len(chunks))
    chunks[place] = b"IDAT", rng.choice((BOMB, zlib.compress(pixels), zlib.compress(pixels)[:-4], pixels))


def read_mask(path: Path, rng: Random) -> None:
    """Read a first mask as the command does."""
    resize = rng.choice((False, True, "crop", "pad", "stretch", "stretch"))
    threshold = rng.choice((None, None, None, 1, 128, 255))
    mask = load_first_mask([path], SIZE, resize=resize, threshold=threshold)
    assert mask.labels.shape == SIZE and mask.labels.dtype == np.uint8
    assert mask.object_ids == tuple(sorted({*np.unique(mask.labels).tolist()} - {0})) != ()


# -- pictures of a folder ---------------------------------------------------------------------------


def whole_pictures() -> list[tuple[str, bytes]]:
    """Make small valid pictures of every format and depth that folders may hold; return their suffixes and contents."""
    rgb = (np.arange(3 * 24 * 32).reshape(*SIZE, 3) % 251).astype(np.uint8)
    plain, grey = Image.fromarray(rgb), rgb[..., 0]
    files = []
    for image, suffix, options in (
        (plain, "jpg", {}),
        (plain, "webp", {}),
        (plain, "bmp", {}),
        (plain, "tif", {"compression": "tiff_lzw"}),
        (Image.fromarray(grey.astype(np.uint16) * 257), "png", {}),
        (Image.fromarray(grey.astype(np.uint16) * 16), "tif", {"compression": "tiff_adobe_deflate"}),
        (Image.fromarray(grey.astype(np.int32)), "tif", {}),
        (Image.fromarray(grey.astype(np.float32)), "tif", {}),
    ):
        file = io.BytesIO()
        image.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options)
        files.append((suffix, file.getvalue()))
    for codec, pixels, suffix in (("tiff", "rgb48le", "tif"), ("png", "rgb48be", "png"), ("png", "ya16be", "png")):
        encoder = av.CodecContext.create(codec, "w")
        encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = *SIZE, pixels, Fraction(1, 24)
        packets = encoder.encode(av.VideoFrame.from_ndarray(rgb).reformat(format=pixels)) + encoder.encode()
        files.append((suffix, b"".join(map(bytes, packets))))
    return files


def broken_picture(content: bytes, rng: Random) -> bytes:
    """Damage any bytes, most often those of the header."""
    end = rng.choice((40, 200, len(content)))
    return broken_bytes(content[:end], rng, rng.randrange(1, 5)) + content[end:]


def read_folder(path: Path, rng: Random) -> None:
    """Read the picture as the only one of its folder."""
    for other in path.parent.glob("input.*"):
        if other != path:
            other.unlink()
    with open_reader(path.parent) as reader:
        for frame in reader:
            assert frame.name == "input" and frame.size == reader.size


# -- videos -----------------------------------------------------------------------------------------


def whole_videos(folder: Path) -> list[tuple[str, bytes]]:
    """Make small valid files of every container that is read; return their suffixes and contents."""
    kinds: list[tuple[str, str, str, dict[str, str]]] = [
        ("mp4", "libx264", "yuv420p", {}),
        ("mp4", "mpeg4", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
        ("mov", "mjpeg", "yuvj420p", {}),
        ("mkv", "libx264", "yuv420p", {}),
        ("webm", "libvpx-vp9", "yuv420p", {}),
        ("avi", "mpeg4", "yuv420p", {}),
        ("ts", "libx264", "yuv420p", {}),
        ("gif", "gif", "rgb8", {}),
    ]
    files = []
    for suffix, codec, pixels, options in kinds:
        path = folder / f"whole.{suffix}"
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream(codec, rate=24)
            stream.height, stream.width, stream.pix_fmt = *SIZE, pixels
            for index in range(6):
                rgb = np.roll(np.arange(3 * 24 * 32).reshape(*SIZE, 3) % 251, 5 * index, axis=1).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb).reformat(format=pixels)))
            container.mux(stream.encode())
        files.append((suffix, path.read_bytes()))
        path.unlink()
    return files


def broken_video(content: bytes, rng: Random) -> bytes:
    """Damage the headers: at the start, or at the end, where an mp4 has its index."""
    length = len(content)
    index = content.find(b"moov")
    starts = [0, 0, max(0, index - 4), max(0, length - 1500)]
    start = rng.choice(starts)
    end = min(length, start + rng.choice((64, 300, 1500)))
    return content[:start] + broken_bytes(content[start:end], rng, rng.randrange(1, 6)) + content[end:]


def read_video(path: Path, rng: Random) -> None:
    """Read a video and write results as the command does, with a fixed mask in place of a tracker."""
    out = path.parent / "out"
    with open_reader(path) as reader:
        labels = np.zeros(reader.size, np.uint8)
        labels[: reader.size[0] // 2] = 1
        frames = itertools.islice(reader, MOST_FRAMES)
        first = next(frames)
        opened = open_writers(["overlay", "csv"], out, fps=reader.fps, first_frame=first, object_ids=[1])
        with WriterThread(opened) as writers:
            for frame in itertools.chain([first], frames):
                writers.write(result_of_labels(frame, (1,), labels, np.ones(1, np.float32)))


# -- all --------------------------------------------------------------------------------------------


def broken_bytes(content: bytes, rng: Random, times: int = 2) -> bytes:
    """Change, cut, repeat or insert bytes, or overwrite them with odd numbers."""
    damaged = bytearray(content)
    for _ in range(times):
        at = rng.randrange(len(damaged) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            del damaged[at:]
        elif kind == 1:
            del damaged[at : at + rng.randrange(1, 40)]
        elif kind == 2:
            damaged[at:at] = damaged[at : at + rng.randrange(1, 40)]
        elif kind == 3:
            damaged[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif kind == 4:
            number = rng.choice(ODD_NUMBERS).to_bytes(4, rng.choice(("big", "little")))
            damaged[at : at + 4] = number
        else:
            damaged[at : at + 1] = rng.randbytes(1)
    return bytes(damaged)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that caused it, says that memory ran out."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or "allocate" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def fuzz(kind: str, examples: int, folder: Path) -> Counter[str]:
    """Feed so many inputs to a reader; count how often each outcome occurs.

    Args:
        kind: ``masks``, ``pictures`` or ``videos``.
        examples: number of inputs.
        folder: folder that the current input is written to, as ``input.*``.

    Raises:
        AssertionError: an input took too much memory, or a message is not one line.
        Exception: any exception of the reader that is not a ``VosError``.
    """
    if kind == "masks":
        wholes, breaker, read = [("png", each) for each in whole_masks()], broken_mask, read_mask
    elif kind == "pictures":
        wholes, breaker, read = whole_pictures(), broken_picture, read_folder
    else:
        wholes, breaker, read = whole_videos(folder), broken_video, read_video
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, len(wholes) - 1), st.randoms(use_true_random=True))
    def feed(number: int, rng: Random) -> None:
        suffix, whole = wholes[number]
        path = folder / f"input.{suffix}"
        path.write_bytes(breaker(whole, rng))
        limit_memory()
        faulthandler.dump_traceback_later(SECONDS[kind], exit=True)
        try:
            outcomes[one_input(read, path, rng)] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()

    ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)  # or every thread's arena would count as growth
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        feed()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    return outcomes


def one_input(read: Callable[[Path, Random], None], path: Path, rng: Random) -> str:
    """Read one input; return ``accepted`` or the name of the error that refused it.

    Raises:
        AssertionError: it took too much memory, or the message is not one line.
    """
    try:
        with warnings.catch_warnings(action="error"):  # a warning would be another line
            read(path, rng)
        return "accepted"
    except VosError as error:
        if is_out_of_memory(error):  # or FFmpeg refused a header's claim by itself
            grown = growth_without_limit(read, path, rng)
            assert grown < GROWTH, f"{path}: took {grown >> 20} MB: {error}"
        assert isinstance(error, InputError) and str(path) in str(error), f"{error!r}"
        assert "\n" not in str(error), f"{error!r}"
        return type(error).__name__


def growth_without_limit(read: Callable[[Path, Random], None], path: Path, rng: Random) -> int:
    """Read an input without a limit; return the bytes by which the peak of resident memory grew."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(VosError):
        read(path, rng)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def limit_memory() -> None:
    """Limit the process's memory to ``GROWTH`` beyond what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GROWTH, most))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(SECONDS))
    parser.add_argument("--examples", type=int, required=True, metavar="N")
    parser.add_argument("--folder", type=Path, help="folder of the current input (default: a new temporary folder)")
    options = parser.parse_args()
    logging.getLogger("vos").setLevel(logging.ERROR)  # how masks were read
    folder = options.folder or Path(tempfile.mkdtemp(prefix="vos-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"the input in turn is {folder}/input.*", flush=True)
    outcomes = fuzz(options.kind, options.examples, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(", ".join(f"{name} {count}" for name, count in outcomes.most_common()), f"peak memory {peak} MB", sep="; ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
