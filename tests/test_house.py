"""The house: which part may import which, and how large a file or function may grow. See docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
    ("errors", "version", "boxes", "regions"),
    ("geometry", "windows", "palette", "grey_masks", "arrays", "method", "private_api"),
    ("structures", "state_file", "files", "plugins", "weights"),
    ("interfaces", "io_interfaces", "folder_lock"),
    ("references", "hinted"),
    ("segmenters", "encoders", "point_trackers", "readers", "writers", "trackers"),
    ("engine",),
    ("pipeline", "finder"),
    ("tracking",),
    ("command", "testing"),
    ("batch",),
    ("benchmarks", "annotate"),
)
"""Bottom up. A room imports from itself and from lower layers only, never from a neighbour on its own."""

FLOORS = {room: floor for floor, rooms in enumerate(LAYERS) for room in rooms}

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
"""Lines of a function, its signature and docstring not counted: a public one may have many parameters."""


def sources() -> list[Path]:
    """Every module of the package, in the folders they lie in."""
    return sorted(path for folder in ("vos", "trackers", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def module(path: Path) -> tuple[str, ...]:
    """Its name below ``vos``: ``("readers", "open")``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1:] if parts[0] == "vos" else parts


def imported(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and name below ``vos`` of all that a module imports, also inside functions."""
    own = module(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        for name in names:
            if isinstance(node, ast.Import):
                target = tuple(name.split("."))
            elif node.level:
                target = ("vos", *own[: len(own) - node.level], *(node.module or "").split("."), name)
            else:
                target = (*node.module.split("."), name)
            target = tuple(part for part in target if part)
            if target[0] == "vos" and len(target) > 1:
                yield node.lineno, target[1:]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_imports_upwards(path: Path) -> None:
    own = module(path)
    if own == ("__init__",):
        return  # the public names, which nothing inside imports
    assert own[0] in FLOORS, f"{path}: give this room a layer in LAYERS"
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {own[0]} imports {'.'.join(target)}"
        for line, target in imported(path)
        if target[0] != own[0] and not FLOORS.get(target[0], len(LAYERS)) < FLOORS[own[0]]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_inside_a_room() -> None:
    names = {module(path): path for path in sources()}
    edges: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name, path in names.items():
        found = {target if target in names else target[:-1] for _, target in imported(path)}
        edges[name] = {target for target in found if target in names and target != name}
    done: set[tuple[str, ...]] = set()

    def visit(name: tuple[str, ...], above: tuple[tuple[str, ...], ...]) -> None:
        circle = [".".join(each) for each in (*above, name)]
        assert name not in above, " -> ".join(circle)
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*above, name))
            done.add(name)

    for name in names:
        visit(name, ())


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
            assert node.end_lineno - first.lineno < LONGEST_FUNCTION, f"{path}:{node.lineno} {node.name}"


def public(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """Public classes, functions and methods, by name; what begins with an underscore holds nothing public."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{inside}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


def promised() -> set[str]:
    """Methods of all protocols: who implements one need not say again what it does."""
    classes = (node for path in sources() for node in ast.parse(path.read_text(encoding="utf-8")).body)
    protocols = (
        node for node in classes if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
    )
    return {each.name for node in protocols for each in node.body if isinstance(each, ast.FunctionDef)}


def test_public_names_have_docstrings() -> None:
    missing, known = [], promised()
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):
            missing.append(str(path.relative_to(ROOT)))
        for name, node in public(tree.body):
            implements = "." in name and node.name in known
            if not (ast.get_docstring(node) or implements or path.name.startswith("test_")):
                missing.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert not missing, "\n".join(missing)
