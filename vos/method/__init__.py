"""The method, section by section: tensors in, tensors out. Nothing of the rest of the package is imported.

- :mod:`.prior`: prototype, confidence map and points (eq. 3-7 and C.2).
- :mod:`.guidance`: guided attention (eq. 8) and semantic prompting (eq. 9-10) of the mask decoder.
- :mod:`.matching`: matches with remembered frames, the prior maps of ``lite``; beyond the paper.
- :mod:`.discriminant`: what sets an object apart from its surroundings; beyond the paper.

Scale weights (eq. 11-12) are PerSAM-F's own, in ``trackers/persam/scale_weights.py``.
"""
