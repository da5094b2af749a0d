"""The command ``python -m vos.testing``: runs the conformance tests with pytest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; return pytest's exit status, or 2 without pytest.

    Args:
        arguments: of the command line; None takes them from ``sys.argv``.
    """
    try:
        import pytest
    except ImportError:
        print("vos.testing: the conformance tests need pytest: pip install pytest", file=sys.stderr)
        return 2
    own = ["-p", f"{__package__}.plugin", "--import-mode=importlib", "-c", str(Path(__file__).parent / "pytest.ini")]
    given = sys.argv[1:] if arguments is None else arguments
    return pytest.main([*own, str(Path(__file__).parent), *given])


if __name__ == "__main__":
    sys.exit(main())
