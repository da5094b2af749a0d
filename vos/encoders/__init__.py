"""Prior encoders: make the patch features of the location prior, see :class:`vos.interfaces.PriorEncoder`.

- ``same``: the segmenter's own features
- ``dinov2``: DINOv2 with ``transformers``' modules
"""
