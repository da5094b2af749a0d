"""Point trackers: where given points of a frame are in the next ones, see :class:`~vos.interfaces.PointTracker`."""
