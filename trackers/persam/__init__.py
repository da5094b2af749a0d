"""PerSAM and PerSAM-F, the trackers of the paper.

- ``tracker``: PerSAM, frame by frame; ``tracker_f``: PerSAM-F, which adds learned scale weights
- ``options``: options of both, and their defaults for each segmenter
- ``segmenting``: learns objects and decodes their masks, the part that both share
- ``objects``: what is known of the objects
- ``looks``: the region of the frame that is encoded, and a window of it for each object
- ``prompts``: prompts and guidance of the first pass; ``points``: their points, followed by a point tracker
- ``boxes``: boxes trimmed and widened
- ``rivals``: clean-up of the masks
- ``scale_weights``: the fit of PerSAM-F's weights
"""

from .options import PerSamOptions
from .tracker import PerSAM
from .tracker_f import PerSAMF, PerSamFOptions

__all__ = ["PerSAM", "PerSAMF", "PerSamFOptions", "PerSamOptions"]
