"""Writers: from results to files, streams and windows; each is a :class:`~vos.interfaces.Writer`."""
