"""Boxes and points on the command line: what a value may look like, and how one with a minus sign is given."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in frame pixels, inclusive."""

Point = tuple[float, float, bool]
"""x, y in frame pixels, and whether the object is there."""

_TAKERS = ("--box", "--point")
"""Options whose value may begin with a minus sign."""

_OUTPUT = ("-o", "--output")
"""Options whose value may begin with a minus sign, if it is no option itself."""

_BELOW_ZERO = re.compile(r"\s*-\s*(\.?\d|inf|nan)", re.IGNORECASE)
"""Start of a value that argparse would take for an option."""


def parse_box(text: str) -> Box:
    """Parse ``X0,Y0,X1,Y1``; spaces and brackets are allowed, such as ``[120, 80, 340, 290]``.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    numbers = _numbers(text)
    if numbers is None or len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text!r}: give X0,Y0,X1,Y1 in pixels, such as 120,80,340,290")
    x0, y0, x1, y1 = numbers
    return x0, y0, x1, y1


def parse_point(text: str) -> Point:
    """Parse ``X,Y``, with ``:0`` for a point outside of the object; spaces and brackets are allowed.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    place, colon, inside = text.partition(":")
    numbers = _numbers(place)
    if numbers is None or len(numbers) != 2 or (colon and inside.strip() not in ("0", "1")):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give X,Y in pixels, such as 200,150, or 200,150:0 for a point outside"
        )
    return numbers[0], numbers[1], inside.strip() != "0"


def protect_values(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Rewrite arguments that begin with ``-`` and are values, so that argparse does not take them for options.

    Args:
        arguments: of the command line.
        options: all options of the parser.

    Returns:
        The arguments: ``--box -2,60,180,150`` becomes ``--box=-2,60,180,150``, and the name of a file that is there
        becomes a path, such as ``./-dog.mp4``, as does the value of ``-o``.
    """
    protected: list[str] = []
    for index, text in enumerate(arguments):
        if text == "--":
            return [*protected, *arguments[index:]]
        before = protected[-1] if protected else ""
        if before in _TAKERS and _BELOW_ZERO.match(text):
            protected[-1] += f"={text.lstrip()}"
        elif text.startswith("-") and _is_name(text, options, new=before in _OUTPUT):
            protected.append(os.path.join(os.curdir, text))
        else:
            protected.append(text)
    return protected


def _is_option(text: str, options: Sequence[str]) -> bool:
    """Tell whether argparse would find an option in an argument: shortened, or with its value behind it."""
    name = text.partition("=")[0]
    return text == "-" or any(option.startswith(name) or option == text[:2] for option in options)


def _is_name(text: str, options: Sequence[str], new: bool) -> bool:
    """Tell whether an argument that begins with ``-`` is the name of a file or folder, perhaps of a new one."""
    if not new:
        return not _is_option(text, options) and os.path.exists(text)
    return text != "-" and text not in options and not (text.startswith("--") and _is_option(text, options))


def _numbers(text: str) -> list[float] | None:
    """Parse numbers between commas or spaces; None if there is anything else, or a number is not finite."""
    bare = text.strip()
    if (bare[:1], bare[-1:]) in (("[", "]"), ("(", ")")):
        bare = bare[1:-1].strip()
    try:
        numbers = [float(part) for part in re.split(r"\s*,\s*|\s+", bare)]
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None
