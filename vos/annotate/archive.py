"""What is downloaded: the files that the command writes, in one zip."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from ..files import atomic_path, output_errors
from ..structures import Result
from ..writers.open import open_writers
from ..writers.thread import WriterThread

SAVES = ("masks", "overlay", "csv")


def write_archive(
    path: Path, results: Iterable[Result], fps: float | None, annotation: Mapping[str, object]
) -> Generator[int, None, None]:
    """Write ``masks/``, ``overlay.mp4``, ``objects.csv`` and ``annotation.json`` into a zip.

    Args:
        path: of the zip; its folder is made, and a folder beside it while it is written.
        results: of the frames that have masks; at least one.
        fps: of the video.
        annotation: goes into ``annotation.json`` as it is.

    Yields:
        How many results are done.

    Raises:
        OutputError: it cannot be written.
    """
    work = path.with_suffix(".parts")
    try:
        with ExitStack() as stack:
            for done, result in enumerate(results, start=1):
                if done == 1:
                    opened = open_writers(SAVES, work, fps=fps, first_frame=result.frame, object_ids=result.object_ids)
                    writers = stack.enter_context(WriterThread(opened))
                writers.write(result)
                yield done
        with output_errors(path):
            text = json.dumps(annotation, indent=2, ensure_ascii=False) + "\n"
            (work / "annotation.json").write_text(text, encoding="utf-8")
            with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for file in sorted(file for file in work.rglob("*") if file.is_file()):
                    archive.write(file, file.relative_to(work))
    finally:
        shutil.rmtree(work, ignore_errors=True)
