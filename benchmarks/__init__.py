"""Benchmarks of vos-track; installed as ``vos.benchmarks``.

Commands:
    ``davis`` (``vos-davis``): tracks and scores whole DAVIS sets, with ``report`` for the HTML page.
    ``perseg`` (``vos-perseg``): finds objects of PerSeg by one picture each, and scores.
    ``oneshot`` (``vos-oneshot``): the same for FSS-1000, LVIS-92i, COCO-20i, PASCAL-Part and PACO-Part.
    ``subjects``, ``mirrored``: things in other photographs, and objects in mirrored frames, found by one picture.
    ``quick``: one tracker on a few sequences, with speed and memory.
    ``ablation``: what each part of the method is worth.
    ``robustness``: what worse input costs.
    ``hints``: first masks from a box or a point.
    ``speed``: time and memory without data.

Shared: ``dataset`` reads DAVIS from disk, ``models`` and ``finding`` set up the models, ``scoring``, ``overlap`` and
``boundary_iou`` hold the measures.
Measured figures and their commands are in ``benchmarks/RESULTS.md``.
"""

if __name__ not in ("vos.benchmarks", "vos_track.benchmarks"):
    raise ImportError(
        f"this folder is the package vos.benchmarks, not {__name__!r}: install the project"
        " (pip install -e .) and import vos.benchmarks"
    )
