"""Runs the conformance tests; every argument goes to pytest."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    try:
        import pytest
    except ImportError:
        print("vos.testing: the conformance tests need pytest: pip install pytest", file=sys.stderr)
        return 2
    own = ["-p", f"{__package__}.plugin", "--import-mode=importlib", "-c", str(Path(__file__).parent / "pytest.ini")]
    return pytest.main([*own, str(Path(__file__).parent), *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
