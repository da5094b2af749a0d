"""What the options of ``vos-track`` say of the objects on their first frame: masks, marks, or words."""

from __future__ import annotations

from ..engine.given import Hints, MaskSource
from ..engine.text import Words, hints_in_source
from ..readers.source import SourceReader
from .option_values import hints_of
from .options import Options


def marked_objects(options: Options, reader: SourceReader) -> MaskSource | Hints | None:
    """Return the first mask, or hints for it; None if only ``--mask-at`` or references say what to follow.

    Raises:
        VosError: ``--text`` names nothing that is seen, or the weights of its detector are missing.
    """
    if options.text:
        words = Words.of(options.text, options.text_threshold, options.text_model)
        return hints_in_source(reader, options.first_frame, words, options.device)
    return options.first_mask or (hints_of(options.hints) if options.hints else None)
