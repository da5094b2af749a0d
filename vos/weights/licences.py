"""Tells a user who chooses weights whose licence does not allow all uses."""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)

_META_OWN = "Meta's own licence, which does not allow all uses; read it"
_TERMS = {
    "dinov3_vit": f"DINOv3 is under {_META_OWN} at https://ai.meta.com/resources/models-and-libraries/dinov3-license",
    "sam3": f"SAM 3 is under {_META_OWN} at https://github.com/facebookresearch/sam3/blob/main/LICENSE",
    "cotracker": "CoTracker is under CC BY-NC 4.0, for uses that are not commercial; "
    "read it at https://github.com/facebookresearch/co-tracker/blob/main/LICENSE.md",
}
_TERMS["dinov3_convnext"] = _TERMS["dinov3_vit"]
"""Lines by type of model, as its configuration names it."""


def tell_licence(name: str, model_type: str) -> None:
    """Log one line if a type of model is not free for all uses; nothing for any other.

    Args:
        name: the name that the user chose the weights by, which begins the line.
        model_type: as in ``transformers``' configurations, or ``sam3`` or ``cotracker``.
    """
    if model_type in _TERMS:
        _log.warning("%s: %s", name, _TERMS[model_type])
