"""Writes the download of the page: the files that ``vos-track`` writes by default, in one zip."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from ..files import atomic_path, output_errors
from ..readers.seek import VideoFrames
from ..structures import Hint, Result
from ..writers.open import open_writers
from ..writers.outputs import DEFAULTS
from ..writers.thread import WriterThread
from .marks import Gone


def write_archive(
    path: Path,
    results: Iterable[Result],
    fps: float | None,
    annotation: Mapping[str, object],
    write_more: Callable[[Path], None],
) -> Generator[int, None, None]:
    """Write ``masks/``, ``overlay.mp4``, ``objects.csv``, ``annotation.json`` and further files into a zip.

    Args:
        path: of the zip; its folder is made, and while the zip is written a folder beside it.
        results: of the frames that have masks; at least one.
        fps: frames per second as the video states it, or None.
        annotation: content of ``annotation.json``.
        write_more: writes further files into a folder.

    Yields:
        How many results are done.

    Raises:
        OutputError: it cannot be written.
    """
    work = path.with_suffix(".parts")
    try:
        with ExitStack() as stack:
            writers: WriterThread | None = None
            for done, result in enumerate(results, start=1):
                if writers is None:
                    opened = open_writers(
                        DEFAULTS, work, fps=fps, first_frame=result.frame, object_ids=result.object_ids
                    )
                    writers = stack.enter_context(WriterThread(opened))
                writers.write(result)
                yield done
        with output_errors(path):
            text = json.dumps(annotation, indent=2, ensure_ascii=False) + "\n"
            (work / "annotation.json").write_text(text, encoding="utf-8")
            write_more(work)
            with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted(file for file in work.rglob("*") if file.is_file()):
                    archive.write(file, file.relative_to(work))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def annotation_record(
    frames: VideoFrames,
    options: Mapping[str, str],
    names: Mapping[int, str],
    hints: Mapping[int, Mapping[int, Hint]],
    references: Mapping[int, object],
) -> dict[str, object]:
    """Collect the content of ``annotation.json``.

    Args:
        frames: the video.
        options: tracker and models.
        names: names of the objects by id.
        hints: hints by frame index and object id.
        references: photographs by object id; without any they are left out.
    """
    return {
        "video": Path(frames.name).name,
        "frames": len(frames),
        **options,
        "objects": names,
        "hints": {
            index: {each: _record_of(hint) for each, hint in sorted(hinted.items())}
            for index, hinted in sorted(hints.items())
        },
        **({"references": references} if references else {}),
    }


def _record_of(hint: Hint) -> dict[str, object]:
    return {"gone": True} if hint == Gone() else {"box": hint.box, "points": hint.points}
