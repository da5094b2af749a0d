"""PACO-Part (Ramanathan et al., CVPR 2023; Liu et al., Matcher, ICLR 2024): 448 parts in 4 folds; table 3.

    PACO-Part/paco/paco_part_train.pkl        gives the order of the classes
    PACO-Part/paco/paco_part_val.pkl          ``cid2img``: class to pictures; ``img2anno``: picture to annotations
    PACO-Part/coco/val2017/<name>.jpg         pictures of COCO 2017, and train2017/ where the file names it

The layout is that of Matcher's code, with its annotation files. Class and pictures of each of the 2,500 episodes are
drawn, and the pictures cut to the box of one drawn object.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..pictures import read_rgb
from .episodes import Draws, Episode, MaskedPicture, cropped
from .files import expected_content, read_pickle, union_of

EPISODES = 2500
"""Number of episodes in a fold."""

Named = tuple[Any, str]
"""Id of a picture and its name."""


class PacoPart:
    """The validation part.

    Args:
        root: folder that holds ``PACO-Part``.
    """

    folds = 4

    def __init__(self, root: Path) -> None:
        self._root = root / "PACO-Part"
        folder = self._root / "paco"
        self._path = folder / "paco_part_val.pkl"
        train = read_pickle(folder / "paco_part_train.pkl")
        content = read_pickle(self._path)
        with expected_content(self._path):
            self._order = list(train["cid2img"])
            self._annotations: dict[Any, list[dict[str, Any]]] = content["img2anno"]
            self._pictures = {each: _distinct(listed) for each, listed in content["cid2img"].items()}

    def episodes(self, fold: int, shots: int, seed: int) -> Iterator[Episode]:
        """Yield 2,500 episodes of drawn classes, of those with more pictures than shots."""
        own = self._order[fold :: self.folds][: len(self._order) // self.folds]
        classes = [each for each in own if len(self._pictures.get(each, [])) > shots]
        if not classes:
            raise InputError(f"{self._path}: fold {fold} has no class with more than {shots} pictures; get it anew")
        draws = Draws(seed)
        for _ in range(EPISODES):
            drawn = draws.one(classes)
            pictures = self._pictures[drawn]
            query = draws.one(pictures)
            chosen = [(query, self._drawn_object(draws, query, drawn))]
            for support in draws.others(pictures, shots, partial(_same_name, query)):
                chosen.append((support, self._drawn_object(draws, support, drawn)))
            read = [self._read(name, parts) for (_, name), parts in chosen]
            yield Episode(tuple(read[1:]), read[0], str(drawn), fold)

    def _drawn_object(self, draws: Draws, picture: Named, drawn: object) -> list[dict[str, Any]]:
        """Draw one of the objects in a picture that have the part, and return the annotations of its parts."""
        objects: dict[Any, list[dict[str, Any]]] = {}
        with expected_content(self._path):
            for each in self._annotations[picture[0]]:
                if each["category_id"] == drawn:
                    objects.setdefault(each["obj_ann_id"], []).append(each)
        if not objects:
            raise InputError(f"{self._path}: {picture[1]} is listed for class {drawn}, but has no annotation of it")
        return draws.one(list(objects.values()))

    def _read(self, name: str, parts: list[dict[str, Any]]) -> MaskedPicture:
        """Read a picture with the mask of one object's parts, cut to the object's box."""
        rgb = read_rgb(self._root / "coco" / name)
        with expected_content(self._path):
            shapes = [each["segmentation"] for each in parts]
            x, y, width, height = parts[0]["obj_bbox"]
        mask = union_of(shapes, rgb.shape[:2], name)
        return cropped(MaskedPicture(name, rgb, mask), (int(x), int(y), int(x + width), int(y + height)))


def _same_name(one: Named, other: Named) -> bool:
    """Tell whether two pictures have one file."""
    return one[1] == other[1]


def _distinct(listed: list[dict[Any, str]]) -> list[Named]:
    """Ids and names of pictures, each id once; of a name's folders only the last is kept."""
    found: dict[Any, str] = {}
    for each in listed:
        for key, name in list(each.items())[:1]:
            found.setdefault(key, "/".join(name.split("/")[-2:]))
    return list(found.items())
