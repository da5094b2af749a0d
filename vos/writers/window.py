"""Shows the overlay in a window while the run goes on; needs OpenCV with windows."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ..errors import InputError, ViewerGone, parameter
from ..structures import Result
from .contrast import Colours
from .drawing import draw_overlay


class Window:
    """A window with the overlay; use it from the main thread only, as some systems demand.

    Args:
        names: names of objects by id.

    Raises:
        InputError: there is no OpenCV with windows, or no screen.
    """

    _TITLE = "vos-track (q to end)"

    def __init__(self, names: Mapping[int, str] | None = None) -> None:
        self._names = names
        self._colours = Colours()
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise InputError(
                f"{parameter('show')}: there is no screen (DISPLAY is not set); "
                f"use {parameter('output', '-')} and a player, or write files"
            )
        try:
            import cv2

            cv2.namedWindow(self._TITLE, cv2.WINDOW_NORMAL)
        except Exception as error:  # not installed, or cv2.error, which derives from Exception alone
            raise InputError(
                f"{parameter('show')} needs OpenCV with windows: "
                "pip install opencv-python (opencv-python-headless has none)"
            ) from error
        self._cv2 = cv2

    def show(self, result: Result) -> None:
        """Draw one frame.

        Raises:
            ViewerGone: the window was closed, or q or Esc was pressed.
        """
        rgb, objects = result.frame.rgb, (result.labels, result.object_ids, result.boxes)
        picture = draw_overlay(rgb, *objects, names=self._names, colours=self._colours.of(rgb, *objects))
        self._cv2.imshow(self._TITLE, picture[..., ::-1])
        pressed = self._cv2.waitKey(1) & 0xFF
        if pressed in (27, ord("q")) or self._cv2.getWindowProperty(self._TITLE, self._cv2.WND_PROP_VISIBLE) < 1:
            raise ViewerGone("the window was closed")

    def close(self) -> None:
        """Remove the window."""
        self._cv2.destroyAllWindows()
