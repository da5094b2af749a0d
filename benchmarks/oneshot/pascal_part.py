"""PASCAL-Part for one shot (Morabia et al. 2020; Liu et al., Matcher, ICLR 2024): parts of objects; table 3.

    Pascal-Part/VOCdevkit/VOC2010/all_obj_part_to_image.json    fold to object to part to names of pictures
    Pascal-Part/VOCdevkit/VOC2010/JPEGImages/<name>.jpg
    Pascal-Part/VOCdevkit/VOC2010/Annotations_Part_json_merged_part_classes/<name>.json

The layout is that of Matcher's code, with its annotation files. The four folds are animals, indoor, person and
vehicles. Classes, an object with one of its parts, take turns; pictures are drawn, and cut to the box of one drawn
object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..pictures import read_rgb
from .episodes import Draws, Episode, MaskedPicture, check_class, cropped
from .files import expected_content, read_json, union_of

FOLDS = ("animals", "indoor", "person", "vehicles")
EPISODES = 2500
"""Largest number of episodes in a fold; it has fewer if its classes have fewer pictures altogether."""

LEFT_OUT = ("aeroplane", "TAIL")
"""A class that Matcher's code leaves out."""

MOST_DRAWS = 10_000
"""Draws after which a picture with the part is given up."""


class PascalPart:
    """The validation part.

    Args:
        root: folder that holds ``Pascal-Part``.
    """

    folds = len(FOLDS)

    def __init__(self, root: Path) -> None:
        self._root = root / "Pascal-Part/VOCdevkit/VOC2010"
        self._list = self._root / "all_obj_part_to_image.json"
        self._objects: dict[str, Any] = read_json(self._list)

    def episodes(self, fold: int, shots: int, seed: int) -> Iterator[Episode]:
        """Yield up to 2,500 episodes."""
        with expected_content(self._list):
            pictures = {
                (thing, part): parts
                for thing, content in self._objects[FOLDS[fold]]["object"].items()
                for part, parts in content["part"].items()
            }
            classes = [each for each, parts in pictures.items() if parts["train"] and parts["val"] and each != LEFT_OUT]
        if not classes:
            raise InputError(f"{self._list}: has no part with pictures for {FOLDS[fold]}; get it anew")
        for each in classes:
            check_class("+".join(each), len(set(pictures[each]["val"])), shots + 1)
        draws = Draws(seed)
        for index in range(min(sum(len(parts["val"]) for parts in pictures.values()), EPISODES)):
            drawn = classes[index % len(classes)]
            used: list[str] = []
            read = []
            for _ in range(1 + shots):
                name, picture = self._drawn(draws, pictures[drawn]["val"], drawn, used)
                used.append(name)
                read.append(picture)
            yield Episode(tuple(read[1:]), read[0], "+".join(drawn), fold)

    def _drawn(
        self, draws: Draws, names: list[str], drawn: tuple[str, str], used: Collection[str]
    ) -> tuple[str, MaskedPicture]:
        """Draw a picture, then one of its objects, until this one has the part; cut the picture to its box."""
        for _ in range(MOST_DRAWS):
            name = draws.one(names)
            if name in used:
                continue
            path = self._root / "Annotations_Part_json_merged_part_classes" / f"{name}.json"
            with expected_content(path):
                things = [each for each in read_json(path)["object"] if each["name"] == drawn[0]]
                thing = draws.one(things)
                parts = [each for each in thing["parts"] if each["name"] == drawn[1]]
                if parts:
                    return name, self._read(name, thing, parts)
        raise InputError(f"{self._list}: no picture that it lists for {'+'.join(drawn)} shows it; get it anew")

    def _read(self, name: str, thing: dict[str, Any], parts: list[dict[str, Any]]) -> MaskedPicture:
        """Read a picture with the mask of one object's parts, cut to the object's box."""
        rgb = read_rgb(self._root / "JPEGImages" / f"{name}.jpg")
        mask = union_of([each for part in parts for each in part["mask"]], rgb.shape[:2], name)
        x0, y0, x1, y1 = (int(thing["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax"))
        return cropped(MaskedPicture(name, rgb, mask), (x0, y0, x1, y1))
