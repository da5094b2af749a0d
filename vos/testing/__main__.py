"""The command ``python -m vos.testing``: runs the conformance tests with pytest."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run the tests with the arguments of the command line; return pytest's exit status, or 2 without pytest."""
    try:
        import pytest
    except ImportError:
        print("vos.testing: the conformance tests need pytest: pip install pytest", file=sys.stderr)
        return 2
    own = ["-p", f"{__package__}.plugin", "--import-mode=importlib", "-c", str(Path(__file__).parent / "pytest.ini")]
    return pytest.main([*own, str(Path(__file__).parent), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
