"""Segmenters: promptable models that encode a frame once and decode N objects, see :class:`vos.interfaces.Segmenter`.

- ``lite``: the bundled model; ``lite_network``: its network
- ``sam``: Segment Anything with ``transformers``' modules; ``segment_anything``: with those of Meta's package
- ``mask_decoder``: SAM's mask decoder with the guidance of the paper, which all of them use; ``sam_parts``: its layers,
  and the prompt encoder of ``lite``
- ``checkpoint``: reads Meta's SAM checkpoints
"""
