"""PerSAM and PerSAM-F, the trackers of the paper."""

from .options import PerSamOptions
from .tracker import PerSAM
from .tracker_f import PerSAMF, PerSamFOptions

__all__ = ["PerSAM", "PerSAMF", "PerSamFOptions", "PerSamOptions"]
