"""Does the same with many things, a few at a time: each on a thread, which share torch's threads among them.

Small operators of a network keep one core busy, not several. So two pictures on two cores are done sooner side by side
than one after the other with both cores. :mod:`vos.finder` and ``vos-find`` use it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

AT_ONCE = 2
"""Things that are done at a time: each takes memory of its own, with a large model several gigabytes."""

AHEAD = 2
"""Results that may wait to be taken."""

Given = TypeVar("Given")
Made = TypeVar("Made")


def side_by_side(function: Callable[[Given], Made], given: Iterable[Given]) -> Generator[Made, None, None]:
    """Call a function with each of many things, on threads; yield what it returns, in their order.

    With a single thread for torch, the things are done one after the other, by a thread that works ahead.

    Args:
        function: called on several threads at once.
        given: the things; they are taken on the caller's thread, a few ahead.

    Raises:
        Exception: whatever the function raises, when it is the turn of that thing; what is begun by then is finished.
    """
    threads = torch.get_num_threads()
    workers = min(AT_ONCE, threads)
    pool = ThreadPoolExecutor(workers, "side-by-side", torch.set_num_threads, (threads // workers,))
    begun: deque[Future[Made]] = deque()
    try:
        for each in given:
            begun.append(pool.submit(function, each))
            if len(begun) == workers + AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a worker's number became that of all threads to come
