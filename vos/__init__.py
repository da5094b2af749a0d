"""Video object segmentation: follow every object of a first mask through a video."""

__version__ = "0.1.0"
