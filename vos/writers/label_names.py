"""Names of the objects as labelling tools know them: classes, and channels of a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def class_name(object_id: int, names: Mapping[int, str]) -> str:
    """Return the class of an object: its name, or ``object 3``, so that objects without names stay apart."""
    return names.get(object_id, f"object {object_id}")


class Classes:
    """The classes of a video in a fixed order: of the first objects by id, then of those that join.

    Args:
        object_ids: the first objects.
        names: names of objects by id; objects of one name are one class.
    """

    def __init__(self, object_ids: Sequence[int], names: Mapping[int, str]) -> None:
        self._names = names
        self._numbers: dict[str, int] = {}
        for object_id in sorted(object_ids):
            self.number(object_id)

    def number(self, object_id: int) -> int:
        """Return the number of an object's class, counted from 0."""
        return self._numbers.setdefault(class_name(object_id, self._names), len(self._numbers))

    def names(self) -> list[str]:
        """List the names of the classes in the order of their numbers."""
        return list(self._numbers)


def channel_name(object_id: int, names: Mapping[int, str]) -> str:
    """Return the layer of an object in a picture with many: letters, digits and underscores, no two alike."""
    plain = _plain(names.get(object_id, ""))
    if not plain[:1].isalpha():
        return f"object{object_id}" + f"_{plain}".rstrip("_")
    shared = any(_plain(name) == plain for each, name in names.items() if each != object_id)
    return f"{plain}_{object_id}" if shared or re.fullmatch(r"object\d+.*", plain) else plain


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
