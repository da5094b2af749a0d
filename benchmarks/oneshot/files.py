"""Reads annotation files of one-shot sets: pickles, JSON, and masks as polygons or run lengths."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError

_ALLOWED = {
    ("builtins", "dict"),
    ("builtins", "list"),
    ("builtins", "set"),
    ("builtins", "tuple"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}
"""Classes and functions that a pickle may name: containers and arrays, none of which can run anything."""


class _Plain(pickle.Unpickler):
    """Reads pickles of plain data; a pickle could run any code otherwise."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up a class that the pickle names."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no plain data")
        return super().find_class(module, name)


def read_pickle(path: Path) -> Any:
    """Read a pickle of dictionaries, lists, numbers, texts and arrays; anything else in it is refused.

    Raises:
        InputError: it is not there, damaged, or holds more than plain data.
    """
    try:
        with path.open("rb") as file:
            return _Plain(file).load()
    except OSError as error:
        raise missing(path, error) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(f"{path}: cannot be read as a pickle ({error}); get it anew") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it is not there or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise missing(path, error) from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); get it anew") from error


def read_names(path: Path) -> list[str]:
    """Read a text file with a name on each line.

    Raises:
        InputError: it is not there, or no text.
    """
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise missing(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text; it lists a class on each line") from error


@contextmanager
def expected_content(path: Path) -> Iterator[None]:
    """Turn what goes wrong in the block, where a file's content is taken apart, into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: its content is not as expected ({error!r}); get it anew") from error


def missing(path: Path, error: OSError) -> InputError:
    """Return the error for a file of a set that cannot be opened."""
    return InputError(f"{path}: cannot be read ({error.strerror}); docs/one-shot.md has the layout of each set")


def union_of(segmentations: list[Any], size: tuple[int, int], name: str) -> np.ndarray:
    """Draw several masks as one.

    Args:
        segmentations: each a list of polygons (x0, y0, x1, y1, …), COCO run lengths, or an array (H, W).
        size: (H, W) of the picture.
        name: of the picture, for messages.

    Returns:
        The mask, (H, W) bool.

    Raises:
        InputError: pycocotools is not installed, or a mask is none of these.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError("this set needs pycocotools: pip install pycocotools") from error
    inside = np.zeros(size, dtype=bool)
    for each in segmentations:
        try:
            if isinstance(each, np.ndarray) and each.ndim == 2:
                inside |= each > 0
            elif isinstance(each, dict):
                inside |= mask.decode(_run_lengths(each)) > 0
            else:
                polygons = [np.asarray(polygon, dtype=np.float64).ravel().tolist() for polygon in each]
                inside |= mask.decode(mask.merge(mask.frPyObjects(polygons, *size))) > 0
        except Exception as error:  # pycocotools raises no class of its own
            raise InputError(f"{name}: its annotation is no mask of its size ({error})") from error
    return inside


def _run_lengths(coded: dict[str, Any]) -> dict[str, Any]:
    """COCO run lengths as pycocotools takes them: counts as bytes, or numbers to be compressed first."""
    from pycocotools import mask

    counts = coded["counts"]
    if isinstance(counts, list):
        return dict(mask.frPyObjects(coded, *coded["size"]))
    return {"size": list(coded["size"]), "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
