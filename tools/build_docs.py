"""Builds the API reference from the docstrings, as web pages.

    python tools/build_docs.py -o build/docs

A module that cannot be imported, or a name of ``vos.__all__`` that is not there, is an error: status 1.
"""

from __future__ import annotations

import argparse
import pkgutil
import re
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.docstrings
import pdoc.render

import vos

MAPPED = ("vos.trackers", "vos.benchmarks")
"""Packages that lie in folders beside ``vos/``, where a walk does not meet them."""

HARMLESS = "Cannot determine where"
"""pdoc does not find the line of an attribute that a TypedDict inherits; the page has it all the same."""

WITHOUT = ("vos.testing.__main__", "vos.testing.plugin", "vos.testing.test_tracker")
"""Modules that only pytest and ``python -m`` read."""


def modules() -> list[str]:
    """Public modules and packages right below ``vos``; pdoc adds what is inside the packages."""
    return ["vos", *sorted([*(module.name for module in pkgutil.iter_modules(vos.__path__, "vos.")), *MAPPED])]


def build(folder: Path) -> list[str]:
    """Write the pages; returns what pdoc complained about."""
    for name in vos.__all__:
        setattr(vos, name, getattr(vos, name))  # pdoc looks for names that are there, not for those made on demand
    convert = pdoc.docstrings.rst
    pdoc.docstrings.rst = lambda text, file: convert(re.sub(r"(:\w+:`)~", r"\1", text), file)  # it shows the ~
    pdoc.render.configure(docformat="google", include_undocumented=False, search=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pdoc.pdoc(*modules(), *(f"!{name}" for name in WITHOUT), output_directory=folder)
    complaints = [str(each.message) for each in told if issubclass(each.category, UserWarning)]
    return [complaint for complaint in complaints if not complaint.startswith(HARMLESS)]


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    complaints = build(options.output)
    for complaint in complaints:
        print(f"build_docs: {complaint}", file=sys.stderr)
    print(f"The API reference is in {options.output}: begin with index.html")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())
