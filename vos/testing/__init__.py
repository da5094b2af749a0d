"""Conformance tests that any tracker plugin can run.

    python -m vos.testing --tracker NAME [--model lite] [--prior same]

A tracker passes when it keeps the promises of ``vos.interfaces.Tracker``: shapes, determinism,
objects that vanish, 1 to 40 objects, frames of odd sizes, memory that stays flat.
"""
