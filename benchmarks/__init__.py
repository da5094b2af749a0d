"""Benchmarks of vos-track; installed as ``vos.benchmarks``."""

if __name__ != "vos.benchmarks":
    raise ImportError(
        f"this folder is the package vos.benchmarks, not {__name__!r}: install the project"
        " (pip install -e .) and import vos.benchmarks"
    )
