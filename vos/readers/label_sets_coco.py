"""Lists what is marked in a file of COCO instances, or in the layout of YouTube-VIS; needs pycocotools."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .marked import Marked, Marks

_TRACKS = ("track_id", "instance_id", "object_id")
"""Keys by which annotations, or their attributes, tell objects of one category apart."""


def read_coco(path: Path) -> Marks:
    """List the segmentations; pictures without any say nothing about their frames.

    Raises:
        InputError: the file cannot be read, or pycocotools is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError(f"{path}: reading COCO needs pycocotools: pip install pycocotools") from error
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
        names = {each["id"]: str(each.get("name", "")) for each in page.get("categories", ())}
        if "videos" in page:
            return Marks(list(_of_video(page, names, mask)))
        if not isinstance(page.get("images"), list):
            raise InputError(f"{path}: is no file of COCO instances: it has no images")
        return _of_images(page, names, mask)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no file of COCO instances ({type(error).__name__}: {error})") from error


def _of_images(page: Mapping[str, Any], names: Mapping[int, str], coder: Any) -> Marks:
    """List the annotations of pictures."""
    images = {image["id"]: image for image in page["images"]}
    marked: list[Marked] = []
    places: Counter[int] = Counter()
    boxes = 0
    for each in sorted(page.get("annotations", ()), key=lambda each: each["id"]):
        if not each.get("segmentation"):
            boxes += 1
            continue
        image = images[each["image_id"]]
        size = (int(image["height"]), int(image["width"]))
        places[each["image_id"]] += 1
        draw = partial(_decode, coder, each["segmentation"], size)
        kind = int(each["category_id"])
        frame, label = str(image["file_name"]), names.get(kind, "")
        marked.append(Marked(frame, kind, draw, label, _track_of(each), places[each["image_id"]], size))
    notes = [f"{boxes} annotations without a segmentation are left out"] if boxes else []
    return Marks(marked, notes=notes)


def _of_video(page: Mapping[str, Any], names: Mapping[int, str], coder: Any) -> Iterator[Marked]:
    """List the annotations of the first video in the layout of YouTube-VIS, which are tracks."""
    video = page["videos"][0]
    size = (int(video["height"]), int(video["width"]))
    for each in page.get("annotations", ()):
        if each.get("video_id", video["id"]) != video["id"]:
            continue
        for index, segmentation in enumerate(each["segmentations"]):
            if segmentation:
                frame = str(video["file_names"][index]) if video.get("file_names") else str(index)
                draw = partial(_decode, coder, segmentation, size)
                kind = int(each["category_id"])
                # All objects of a run without names are of one category, which then is no name.
                label = names.get(kind, "") if len(names) > 1 else ""
                yield Marked(frame, kind, draw, label, int(each["id"]), size=size)


def _track_of(annotation: Mapping[str, Any]) -> int | str | None:
    """Return what tells the object from others of its category, if anything does."""
    for place in (annotation, annotation.get("attributes") or {}):
        for key in _TRACKS:
            if isinstance(place.get(key), int | str):
                found: int | str = place[key]
                return found
    return None


def _decode(coder: Any, segmentation: Any, own: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of polygons, or of runs, compressed or not; ``size`` is that of the picture, too."""
    if isinstance(segmentation, list):
        runs = coder.merge(coder.frPyObjects(segmentation, *own))
    elif isinstance(segmentation["counts"], list):
        runs = coder.frPyObjects(segmentation, *own)
    else:
        runs = segmentation
    # A copy, as NumPy 2 warns about how pycocotools hands its array over.
    decoded: np.ndarray = coder.decode([runs])[:, :, 0].astype(bool)
    return decoded
