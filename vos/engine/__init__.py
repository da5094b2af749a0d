"""The streaming engine: one frame in, one result out, whichever models and tracker are in use.

- :mod:`.session`: a session, which follows objects through frames pushed one at a time.
- :mod:`.merge`: from the logits of N objects to one label map.
- :mod:`.hints`: a first mask from boxes and points, by the segmenter and the prior maps of
  :mod:`vos.method`.
- :mod:`.given`: what users say which objects to follow.
- :mod:`.both_ways`, :mod:`.joining`, :mod:`.kept`: plan, rule and store of a run in both directions.
- :mod:`.models`: trackers, segmenters and prior encoders by name.
- :mod:`.device`: choice of device and precision.

The equations of the paper are in :mod:`vos.method`; trackers put them together.
"""
