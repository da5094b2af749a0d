"""Progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import shutil

import pytest

from vos.command.progress import Progress


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Columns of the terminal; change the item to resize it."""
    width = [80]
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((width[0], 24)))
    return width


def run(progress: Progress, clock: Clock, frames: int, seconds_each: float) -> None:
    with progress:
        for done in range(1, frames + 1):
            clock.now_s += seconds_each
            progress.update(done)


def test_plain_lines(clock: Clock) -> None:
    stream = io.StringIO()
    run(Progress(48, stream, clock=clock), clock, 48, 0.25)
    assert stream.getvalue().splitlines() == [
        "20 of 48 frames, 4.0 frames/s, 0:07 left",
        "40 of 48 frames, 4.0 frames/s, 0:02 left",
        "48 of 48 frames in 0:12, 4.0 frames/s",
    ]


def test_plain_lines_without_a_total(clock: Clock) -> None:
    stream = io.StringIO()
    run(Progress(None, stream, clock=clock, interval_s=60), clock, 200, 0.5)
    assert stream.getvalue().splitlines() == [
        "120 frames, 2.0 frames/s, 1:00",
        "200 frames in 1:40, 2.0 frames/s",
    ]


def test_plain_lines_are_at_most_one_an_interval(clock: Clock) -> None:
    stream = io.StringIO()
    run(Progress(3, stream, clock=clock), clock, 3, 3600)
    assert len(stream.getvalue().splitlines()) == 4
    assert "2 of 3 frames, 0.00 frames/s, 1:00:00 left" in stream.getvalue()


def test_rate_follows_the_recent_frames(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(10_000, stream, clock=clock, interval_s=0)
    for done in range(1, 101):
        clock.now_s += 2.0 if done <= 50 else 0.1
        progress.update(done)
    assert stream.getvalue().splitlines()[-1] == "100 of 10000 frames, 10.0 frames/s, 16:30 left"


def test_bar(clock: Clock, columns: list[int]) -> None:
    stream = io.StringIO()
    run(Progress(4, stream, clock=clock, is_terminal=True), clock, 4, 1.0)
    lines = [line.rstrip() for line in stream.getvalue().removesuffix("\n").split("\r")]
    assert lines == [
        "",
        f"[{'#' * 10}{'-' * 30}] 1/4  1.0 frames/s  0:03 left",
        f"[{'#' * 20}{'-' * 20}] 2/4  1.0 frames/s  0:02 left",
        f"[{'#' * 30}{'-' * 10}] 3/4  1.0 frames/s  0:01 left",
        f"[{'#' * 40}] 4/4  1.0 frames/s  0:00 left",
        "4 of 4 frames in 0:04, 1.0 frames/s",
    ]
    assert stream.getvalue().endswith("\n")


def test_bar_is_redrawn_at_most_ten_times_a_second(clock: Clock, columns: list[int]) -> None:
    stream = io.StringIO()
    run(Progress(1000, stream, clock=clock, is_terminal=True), clock, 1000, 0.001)
    assert 2 <= stream.getvalue().count("\r") <= 12


@pytest.mark.parametrize("width", [1, 5, 20, 38, 48, 60, 80, 300])
@pytest.mark.parametrize("total", [None, 12_000])
def test_bar_fits_the_width(clock: Clock, columns: list[int], width: int, total: int | None) -> None:
    columns[0] = width
    stream = io.StringIO()
    run(Progress(total, stream, clock=clock, is_terminal=True), clock, 12, 1.0)
    assert all(len(line) < max(width, 2) for line in stream.getvalue().removesuffix("\n").split("\r"))


def test_a_shorter_line_covers_the_last_one(clock: Clock, columns: list[int]) -> None:
    stream = io.StringIO()
    run(Progress(4, stream, clock=clock, is_terminal=True), clock, 4, 1.0)
    *_, bar, final = stream.getvalue().removesuffix("\n").split("\r")
    assert len(final) == len(bar) > len(final.rstrip())


def test_total_that_was_too_small(clock: Clock, columns: list[int]) -> None:
    for is_terminal in (False, True):
        stream = io.StringIO()
        run(Progress(5, stream, clock=clock, is_terminal=is_terminal, interval_s=0), clock, 7, 1.0)
        assert "6 frames" in stream.getvalue()
        assert stream.getvalue().rstrip().endswith("7 frames in 0:07, 1.0 frames/s")


def test_total_of_zero_and_no_time_passing(clock: Clock, columns: list[int]) -> None:
    stream = io.StringIO()
    with Progress(0, stream, clock=clock, is_terminal=True) as progress:
        progress.update(0)
    assert stream.getvalue().rstrip().endswith("0 of 0 frames in 0:00")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_nothing_is_printed(clock: Clock, is_terminal: bool) -> None:
    stream = io.StringIO()
    run(Progress(4, stream, clock=clock, is_terminal=is_terminal, quiet=True), clock, 4, 10)
    run(Progress(4, stream, clock=clock, is_terminal=is_terminal), clock, 0, 10)
    run(Progress(4, None, clock=clock, is_terminal=is_terminal), clock, 4, 10)
    assert stream.getvalue() == ""


def test_close_twice_prints_once(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(1, stream, clock=clock)
    progress.update(1)
    progress.close()
    progress.close()
    progress.update(1)
    assert stream.getvalue().count("\n") == 1


def test_error_inside_still_ends_the_line(clock: Clock, columns: list[int]) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), Progress(4, stream, clock=clock, is_terminal=True) as progress:
        progress.update(1)
        raise KeyError
    assert stream.getvalue().endswith("\n")


def test_terminal_is_asked_of_the_stream(clock: Clock, columns: list[int]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    run(Progress(2, stream, clock=clock), clock, 2, 1.0)
    assert "\r" in stream.getvalue()


def test_broken_stream_silences_it(clock: Clock) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    run(Progress(4, Broken(), clock=clock, interval_s=0), clock, 4, 1.0)
    closed = io.StringIO()
    closed.close()
    run(Progress(4, closed, clock=clock, interval_s=0), clock, 4, 1.0)
