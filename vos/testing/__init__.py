"""Conformance tests that any tracker plugin can run, and the drawn clip that they use.

    python -m vos.testing --tracker NAME [--model lite] [--prior same]

A tracker that passes keeps the promises of :class:`vos.interfaces.Tracker`: shapes, determinism,
objects that vanish, 1 to 40 objects, frames of odd sizes, memory that stays flat.

- ``test_tracker``: the tests; ``plugin``: their options and the sessions that they open; ``__main__``: runs them.
- ``clip``: frames with exact masks, also used by the project's own tests and benchmarks.
- ``still``: trackers that leave masks where they are, for tests of what is around a tracker.
"""
