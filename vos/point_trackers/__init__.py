"""Point trackers: follow given points from frame to frame, see :class:`vos.interfaces.PointTracker`.

- ``lk``: pyramidal Lucas-Kanade, without weights
- ``pips``: PIPS; ``pips_network``: its network
- ``cotracker``: CoTracker through its own package or ``torch.hub``
"""
