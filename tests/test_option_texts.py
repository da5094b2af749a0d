"""Any text as the value of an option: it is read, or refused with status 2 and one line."""

from __future__ import annotations

import contextlib
import io

import pytest

from vos.command.options import parse_options

hypothesis = pytest.importorskip("hypothesis")
strategies = hypothesis.strategies

OPTIONS = (
    "--box",
    "--point",
    "--mask-at",
    "--gone",
    "--threshold",
    "--resize-mask",
    "--start",
    "--max-frames",
    "--debug",
)
TEXTS = strategies.text(max_size=30) | strategies.text("-+0123456789.,:;=eE xnaif[]()", max_size=20)


@hypothesis.given(strategies.sampled_from(OPTIONS), TEXTS)
@hypothesis.example("--gone", "3:")
@hypothesis.example("--gone", "99999999999999999999:1,1")
@hypothesis.example("--box", "1e400,0,nan,inf")
@hypothesis.example("--point", "-1,-2:0")
@hypothesis.settings(max_examples=400, deadline=None, derandomize=True)
def test_it_is_read_or_refused_in_one_line(option: str, text: str) -> None:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            parse_options(["clip.mp4", option, text])
        except SystemExit as left:
            assert left.code in (0, 2)  # 0: the text is --help
            assert left.code == 0 or errors.getvalue().rstrip("\n").count("\n") == 0, errors.getvalue()
