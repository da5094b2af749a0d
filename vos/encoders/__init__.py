"""Prior encoders: make the patch features of the location prior, see :class:`vos.interfaces.PriorEncoder`.

- ``same``: the segmenter's own features
- ``dinov2``, ``dinov3``, ``clip``, ``siglip2``: vision models with ``transformers``' modules
- ``patch_encoder``: what these have in common; ``any_family``: finds which of them a folder holds
"""
