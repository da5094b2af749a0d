"""How the values of options are written: each function reads one, for ``type=`` of :mod:`argparse`.

Boxes and points are read in :mod:`vos.command.coordinates`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar

from .coordinates import Box, Point, protect_values

if TYPE_CHECKING:  # imports torch
    from ..readers.mask_size import Resize
    from ..structures import Hint

GivenHint = tuple[Literal["box"], Box] | tuple[Literal["point"], Point] | tuple[Literal["object"], None]
"""One ``--box``, ``--point`` or ``--object`` with its value."""

_RESIZES: tuple[Literal["crop", "pad", "stretch"], ...] = ("crop", "pad", "stretch")
"""Values of ``--resize-mask``; without one, the mask is scaled."""


OptionsT = TypeVar("OptionsT", bound=argparse.Namespace)
"""The options of a command."""


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def parse(self, arguments: Sequence[str], options: OptionsT) -> OptionsT:
        """Fill in options from arguments; values and names of files may begin with ``-``, see :func:`protect_values`.

        A mistake leaves with status 2 and one line.
        """
        flags = [flag for action in self._actions for flag in action.option_strings]
        return self.parse_args(protect_values(arguments, flags), namespace=options)

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with status 2."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


class HintAction(argparse.Action):
    """Notes --box, --point and --object in the order in which they are given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        hints = list(getattr(namespace, self.dest) or [])
        hints.append(((option_string or "").lstrip("-"), values or None))
        setattr(namespace, self.dest, hints)


def hints_of(given: Sequence[GivenHint]) -> list[Hint]:
    """Return one hint per object; a second box begins another object, as ``--object`` does."""
    from ..structures import Hint

    objects = [Hint()]
    for one in given:
        begun = objects[-1]
        if (one[0] == "object" and (begun.box or begun.points)) or (one[0] == "box" and begun.box):
            begun = Hint()
            objects.append(begun)
        if one[0] == "box":
            objects[-1] = replace(begun, box=one[1])
        elif one[0] == "point":
            objects[-1] = replace(begun, points=(*begun.points, one[1]))
    return objects


def mask_at(text: str) -> tuple[int, str]:
    """Read ``FRAME=PNG``."""
    frame, equals, path = text.partition("=")
    if not (equals and path and frame.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: give FRAME=PNG, such as 120=corrected.png")
    return int(frame), path


def name(text: str) -> tuple[int, str]:
    """Read ``ID=NAME``."""
    number, _, named = text.partition("=")
    if not (
        number.isascii()
        and number.isdecimal()
        and 1 <= int(number) <= 255
        and named.strip().isprintable()
        and named.strip()
    ):
        raise argparse.ArgumentTypeError(f"{text!r}: give ID=NAME, such as 1=dog; ids are 1 to 255")
    return int(number), named.strip()


def resize(text: str) -> Resize:
    """Read the value of ``--resize-mask``, see :func:`with_resize`."""
    if text == "scale":
        return True
    for each in _RESIZES:
        if text == each:
            return each
    raise argparse.ArgumentTypeError(f"{text!r}: give nothing, crop, pad or stretch")


def threshold(text: str) -> int:
    """Read a brightness, 1 to 255."""
    value = int(text)
    if not 1 <= value <= 255:
        raise argparse.ArgumentTypeError("must be 1 to 255")
    return value


def gone(text: str) -> tuple[int, list[int]]:
    """Read ``FRAME:ID[,ID]``."""
    frame, _, ids = text.partition(":")
    numbers = [each.strip() for each in ids.split(",")]
    if not all(each.isascii() and each.isdecimal() for each in (frame.strip(), *numbers)):
        raise argparse.ArgumentTypeError(f"{text!r}: give FRAME:ID or FRAME:ID,ID, such as 120:2")
    return int(frame), [int(each) for each in numbers]


def count(text: str) -> int:
    """Read a number that is not negative."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def positive(text: str) -> int:
    """Read a number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def with_resize(arguments: Sequence[str]) -> list[str]:
    """Give ``--resize-mask`` the value that it stands for where none follows, so that it takes no other argument."""
    following = [*arguments[1:], ""] if arguments else []
    return [
        f"{each}=scale" if each == "--resize-mask" and after not in _RESIZES else each
        for each, after in zip(arguments, following, strict=True)
    ]
