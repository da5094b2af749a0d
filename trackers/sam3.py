"""SAM 3's tracker with the modules of ``transformers``: SAM 2's memory on another image encoder.

Of SAM 3 only the part is used that follows masks, not its detector, which finds all things that a phrase names. All but
the input's normalisation and the library's classes is :class:`~vos.trackers.sam2.Sam2`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from .sam2 import Sam2, Sam2Options


@dataclass(frozen=True)
class Sam3Options(Sam2Options):
    """Options of SAM 3's tracker; see :class:`~vos.trackers.sam2.Sam2Options`."""

    weights: str = "facebook/sam3"


class Sam3(Sam2):
    """SAM 3's tracker; see :class:`~vos.trackers.sam2.Sam2`.

    It reads the weights of the whole of SAM 3, as the hub has them, and those of the tracker alone. Their licence does
    not allow all uses, which is logged.
    """

    Options = Sam3Options
    name = "sam3"
    model_class = "Sam3TrackerVideoModel"
    session_class = "Sam3TrackerVideoInferenceSession"
    mean = IMAGENET_STANDARD_MEAN
    deviation = IMAGENET_STANDARD_STD
