"""Reads the rows of a manifest: a table, lines of JSON, a pattern or the videos themselves; checks each of them."""

from __future__ import annotations

import argparse
import csv
import glob
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..command.option_values import HintAction
from ..command.options import Options, check_options
from ..command.run import chosen_outputs
from ..errors import InputError, VosError
from ..readers.references import files_of
from .arguments import REFUSED, flags, read_options, split

Given = list[tuple[str, object]]
"""Keys of a row with their values, in the order in which they stand there."""

ALIASES = {"mask": "first-mask"}
"""Other names of columns."""

YES, NO = ("true", "yes", "1", "x"), ("false", "no", "0", "")
"""What switches an option without a value on and off."""

TABLES = re.compile(r"(report|failed|tries)(\.\d+-of-\d+)?\.csv", re.IGNORECASE)
"""Names of the tables of a batch, beside which the result folders lie."""

SEVERAL = 5
"""Bad rows that are told at most."""


@dataclass(frozen=True)
class Row:
    """One video of a batch.

    Attributes:
        origin: where it is from, such as ``videos.csv:3``.
        name: name of its result folder.
        arguments: command line of ``vos-track`` without the result folder; the video comes first.
        options: the same, parsed.
    """

    origin: str
    name: str
    arguments: tuple[str, ...]
    options: Options

    @property
    def video(self) -> str:
        """The file or folder."""
        return self.options.video


def read_rows(sources: Sequence[str], shared: Sequence[str] = ()) -> list[Row]:
    """Read and check all rows.

    Args:
        sources: tables, patterns and videos.
        shared: options of ``vos-track`` for every video; ``{name}`` in them stands for its name.

    Raises:
        InputError: a source cannot be read or has no row, a row cannot be used, or two have one name. The message
            names the file and the line.
    """
    rows: list[Row] = []
    problems: list[str] = []
    taken: dict[str, str] = {}
    for origin, given in (each for source in sources for each in _source(source)):
        try:
            row = _row(origin, given, shared)
            other = taken.get(row.name.casefold())
            if other is not None:
                raise InputError(f"is named {row.name}, as {other} is; give one of them another name")
            taken[row.name.casefold()] = origin
            rows.append(row)
        except VosError as error:
            problems.append(f"{origin}: {error}")
    if problems:
        more = len(problems) - SEVERAL
        raise InputError("; ".join([*problems[:SEVERAL], *([f"and {more} more rows"] if more > 0 else [])]))
    return rows


def _source(source: str) -> Iterator[tuple[str, Given]]:
    """Yield the rows of a manifest with their origin.

    Raises:
        InputError: it cannot be read, or has none.
    """
    readers: dict[str, Callable[[Path], Iterator[tuple[str, Given]]]] = {
        ".csv": _csv,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
    }
    path = Path(source)
    reader = readers.get(path.suffix.lower())
    count = 0
    if reader is not None:
        try:
            for each in reader(path):
                count += 1
                yield each
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is no text in UTF-8; save it as such") from error
    elif path.exists():
        count = 1
        yield source, [("video", source)]
    else:
        for found in sorted(glob.glob(source, recursive=True)):
            count += 1
            yield found, [("video", found)]
    if not count:
        empty = "has no row" if reader else "no such file, and no file fits it as a pattern"
        raise InputError(f"{source}: {empty}; give a .csv or .jsonl file, a pattern or a video")


def _csv(path: Path) -> Iterator[tuple[str, Given]]:
    """Yield the rows of a table; empty cells and empty lines are left out."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [cell.strip() for cell in next(reader, [])]
            for cells in reader:
                origin = f"{path}:{reader.line_num}"
                if len(cells) > len(header) and any(cells[len(header) :]):
                    raise InputError(f"{origin}: has more cells than line 1 has columns; quote cells with commas")
                given: Given = [(key, cell.strip()) for key, cell in zip(header, cells, strict=False) if cell.strip()]
                if given:
                    yield origin, given
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: is no row of a table ({error})") from error


def _json_lines(path: Path) -> Iterator[tuple[str, Given]]:
    """Yield the objects of a file of JSON lines; empty lines are left out."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                content = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}: is no JSON ({error})") from error
            if not isinstance(content, dict):
                raise InputError(f'{path}:{number}: is no JSON object, such as {{"video": "dog.mp4", "mask": "d.png"}}')
            yield f"{path}:{number}", list(content.items())


def _row(origin: str, given: Given, shared: Sequence[str]) -> Row:
    """Make a row of what is given.

    Raises:
        InputError: it cannot be used.
    """
    video = name = ""
    own: list[str] = []
    words: set[str] = set()
    for key, value in given:
        word = key.strip().lower().replace("_", "-")
        if word in words and not _repeatable(word):
            raise InputError(f"{word}: is given twice; leave one of the columns out")
        words.add(word)
        if word not in ("video", "name", "options"):
            own += _tokens(key, value)
        elif value is None:
            continue
        elif word == "options":
            own += _several(value)
        elif word == "video":
            video = _text(word, value)
        else:
            name = _text(word, value)
    path = Path(video)
    if not video or not path.exists():
        raise InputError(f"{video or 'no video'}: no such file or folder; check the path")
    name = name or (path.resolve().name if path.is_dir() else path.stem)
    if not name.isprintable() or name.startswith(".") or set(name) & set("/\\") or len(name) > 200:
        raise InputError(f"{name!r}: is no name of a folder; give the row a name")
    if TABLES.fullmatch(name):
        raise InputError(f"{name!r}: is the name of a table of the batch; give the row another name")
    filled = [each.replace("{name}", name) for each in shared]
    arguments = (video, *filled, *own)
    options = read_options(arguments)
    _check(options)
    return Row(origin, name, arguments, options)


def _check(options: Options) -> None:
    """Check that the options of a row go together and that its files are there.

    Raises:
        InputError: they do not, or one is not.
    """
    check_options(options)
    chosen_outputs(options.save)
    for mask in (*(options.first_mask or ()), *(path for _, path in options.mask_at)):
        if not Path(mask).is_file():
            raise InputError(f"{mask}: no such mask; check the path")
    for file in (file for text in options.reference or () for file in files_of(text)):
        if not Path(file).is_file():
            raise InputError(f"{file}: no such file; check the path of the reference")
    if options.masks is not None and not Path(options.masks).exists():
        raise InputError(f"{options.masks}: no such file or folder; check the path of the masks")


def _repeatable(word: str) -> bool:
    """Tell whether a key of a row may be there twice, as what is given adds up."""
    if word in ("video", "name", "options"):
        return word == "options"
    return isinstance(flags().get(_flag(word)), argparse._AppendAction | HintAction)


def _text(key: str, value: object) -> str:
    """Return a value of a row that is a text; a number will do, too.

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{key}: give a text, not {json.dumps(value)}")
    return str(value)


def _several(value: object) -> list[str]:
    """Read options as they are written on a command line: one text, or a list of its words.

    Raises:
        InputError: they cannot be read, or a row cannot have them.
    """
    if isinstance(value, list):
        words = [_text("options", word) for word in value]
    else:
        text = _text("options", value)
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise InputError(f"options {text!r}: {error}") from error
    own, options = split(words)
    if own:
        raise InputError(f"options: {own[0]!r} is no option of vos-track that a video can have")
    return options


def _flag(word: str) -> str:
    """Return the option that a key stands for."""
    return f"--{ALIASES.get(word, word)}"


def _tokens(key: str, value: object) -> list[str]:
    """Return what stands on the command line for a key of a row.

    Raises:
        InputError: there is no such option, or it cannot have this value.
    """
    known = flags()
    flag = _flag(key.strip().lower().replace("_", "-"))
    if flag in REFUSED:
        raise InputError(f"{key}: is not for a row: {REFUSED[flag]}")
    if flag not in known:
        raise InputError(
            f"{key!r}: no such column; give video, name, mask, options, or an option of vos-track without its dashes"
        )
    if isinstance(value, list) and not _are_numbers(value):
        return [token for each in value for token in _tokens(key, each)]
    nargs = getattr(known[flag], "nargs", None)
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if value is None or (nargs in (0, "?") and text.lower() in NO):
        return []
    if nargs in (0, "?") and (isinstance(value, bool) or text.lower() in YES):
        return [flag]
    if nargs == 0:
        raise InputError(f"{key}: takes no value; give {YES[0]} or {NO[0]}, not {text!r}")
    return [f"{flag}={text}"]


def _are_numbers(values: Sequence[object]) -> bool:
    """Tell whether a list is one value, such as a box, rather than several."""
    return bool(values) and all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
