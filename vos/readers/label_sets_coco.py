"""Lists what is marked in a file of COCO instances, or in the layout of YouTube-VIS; needs pycocotools."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .limits import size_text
from .marked import Marked, Marks

_TRACKS = ("track_id", "instance_id", "object_id")
"""Keys by which annotations, or their attributes, tell objects of one category apart."""

_Draw = Callable[[tuple[int, int]], np.ndarray]
"""Makes a mask (H, W) bool for a size (H, W)."""


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
        page = json.loads(path.read_text(encoding="utf-8-sig"))
        names = {each["id"]: str(each.get("name", "")) for each in page.get("categories", ())}
        if "videos" in page:
            return Marks(list(_of_video(page, names, mask)))
        if not isinstance(page.get("images"), list):
            raise InputError(f"{path}: is no file of COCO instances: it has no images")
        return _of_images(page, names, mask)
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{path}: is no file of COCO instances (it lacks {error})") from error
    except ValueError as error:
        raise InputError(f"{path}: is no file of COCO instances ({error})") from error
    except (OSError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: is no file of COCO instances ({type(error).__name__}: {error})") from error


def _of_images(page: Mapping[str, Any], names: Mapping[int, str], coder: Any) -> Marks:
    """List the annotations of pictures."""
    images = {image["id"]: image for image in page["images"]}
    marked: list[Marked] = []
    places: Counter[int] = Counter()
    boxes = 0
    for each in sorted(page.get("annotations", ()), key=lambda each: each.get("id", 0)):
        if not each.get("segmentation"):
            boxes += 1
            continue
        name = f"annotation {each.get('id', 'without id')}"
        if each["image_id"] not in images:
            raise ValueError(f"{name} is of picture {each['image_id']}, which is not listed")
        image = images[each["image_id"]]
        size = (int(image["height"]), int(image["width"]))
        places[each["image_id"]] += 1
        draw = _drawing(coder, each["segmentation"], size, name)
        kind = int(each["category_id"])
        frame, label = str(image["file_name"]), names.get(kind, "")
        marked.append(Marked(frame, kind, draw, label, _track_of(each), places[each["image_id"]], size))
    notes = [f"{boxes} annotations without a segmentation are left out"] if boxes else []
    return Marks(marked, notes=notes)


def _of_video(page: Mapping[str, Any], names: Mapping[int, str], coder: Any) -> Iterator[Marked]:
    """List the annotations of the first video in the layout of YouTube-VIS, which are tracks."""
    if not page["videos"]:
        raise ValueError("it has no video")
    video = page["videos"][0]
    size = (int(video["height"]), int(video["width"]))
    for each in page.get("annotations", ()):
        if each.get("video_id", video["id"]) != video["id"]:
            continue
        for index, segmentation in enumerate(each["segmentations"]):
            if segmentation:
                frame = str(video["file_names"][index]) if video.get("file_names") else str(index)
                draw = _drawing(coder, segmentation, size, f"annotation {each['id']}")
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


def _drawing(coder: Any, segmentation: Any, size: tuple[int, int], name: str) -> _Draw:
    """Return what draws polygons, or runs, compressed or not, as a mask (H, W) bool.

    Args:
        coder: pycocotools, for polygons.
        segmentation: as the file has it.
        size: (H, W) of the picture.
        name: of the annotation, for messages.

    Raises:
        ValueError: it is damaged.
    """
    if isinstance(segmentation, list):
        polygons = [np.array(each, float) for each in segmentation]
        if any(each.ndim != 1 or len(each) < 6 or not np.isfinite(each).all() for each in polygons):
            raise ValueError(f"{name} has a polygon that is no flat list of x and y of three corners or more")
        return partial(_draw_polygons, coder, [each.tolist() for each in polygons])
    own = int(segmentation["size"][0]), int(segmentation["size"][1])
    if own != size:
        raise ValueError(f"{name} has a mask of {size_text(own)}, but its picture is {size_text(size)}")
    runs = _runs_of(segmentation["counts"])
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError(f"{name} has damaged runs, which do not fill its picture of {size_text(size)}")
    return partial(_draw_runs, runs)


def _runs_of(counts: list[int] | str) -> np.ndarray:
    """Return the lengths of runs outside and inside by turns, (R,) int64.

    In text, a character stands for six bits: five of a number, the lowest first, and one that is set if more follow.
    From the fourth on, the numbers are differences from the last but one.
    """
    if isinstance(counts, list):
        return np.array(counts, np.int64)
    runs: list[int] = []
    number = shift = 0
    for character in counts.encode("ascii"):
        bits = character - ord("0")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            number -= (bits >> 4 & 1) << shift  # the sign
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    return np.array(runs, np.int64)


def _draw_polygons(coder: Any, polygons: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of polygons."""
    # A copy, as NumPy 2 warns about how pycocotools hands its array over.
    decoded: np.ndarray = coder.decode([coder.merge(coder.frPyObjects(polygons, *size))])[:, :, 0].astype(bool)
    return decoded


def _draw_runs(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of runs outside and inside by turns, column by column."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T
