"""Trackers that come with vos-track; installed as ``vos.trackers``."""

if __name__ not in ("vos.trackers", "vos_track.trackers"):
    raise ImportError(
        f"this folder is the package vos.trackers, not {__name__!r}: install the project"
        " (pip install -e .) and import vos.trackers"
    )
