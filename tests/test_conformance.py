"""PerSAM and PerSAM-F keep the promises of a tracker; ``test_sam2.py`` and ``test_cutie.py`` ask the others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from vos.trackers.persam import PerSAMF


@pytest.mark.slow
def test_persam_conforms() -> None:
    command = [sys.executable, "-m", "vos.testing", "-q", "--tracker", "persam", "--memory-frames", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
def test_persam_f_conforms(conforms: Callable[..., None], short_fit: None) -> None:
    """What PerSAM-F holds after its first frame is PerSAM's, so its memory is not measured again."""
    conforms("--tracker", "persam-f", "-k", "not memory")


def test_a_promise_that_is_broken_is_told(conforms: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PerSAMF, "observe", lambda self, context, result: result.labels.fill(0))
    with pytest.raises(AssertionError, match="1 failed"):
        conforms("--tracker", "persam-f", "-k", "shapes and 1", "--maxfail", "1")
