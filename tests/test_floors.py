"""The layout: which layer may import which, and which files lie at the top."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "xyt_stream"

FLOORS = {
    "errors": -1,  # the ground: the other file of floor 0 uses it, too
    "part_file": -1,
    "standard_streams": -1,
    "audio": 0,
    "protocol": 1,
    "delay": 1,
    "model": 1,
    "edge": 1,
    "streaming": 2,
    "server": 3,
    "client": 3,
    "export": 3,
    "train": 3,
    "evaluate": 4,  # an ablation trains a reader
    "bench": 5,
    "cli": 6,
    "__main__": 7,
}
SERVER_FLOORS = {
    "saved_arrays": -1,  # the ground: saved.py of floor 0 uses it, too
    "admission": 0,
    "cluster": 1,
    "engine": 1,
    "event_loop": 1,
    "log": 0,
    "saved": 0,
    "tasks": 0,
    "page_codec": 0,
    "duplex": 2,
    "metrics": 2,
    "parrot": 3,
    "sessions": 3,
    "realtime": 4,
    "shedding": 4,
    "build": 5,
    "readiness": 5,
    "service": 6,
    "handover": 7,
    "cascade": 8,
    "connection": 9,
    "pages": 10,
    "acceptor": 11,
    "app": 12,
}
MAY_NOT_USE = {  # beyond what floors forbid
    "client": {"model", "streaming"},
    "edge": {"audio"},  # soundfile and soxr: numpy and onnxruntime are all it needs
    "export": {"protocol"},
    "model": {"protocol"},
    "streaming": {"protocol"},
    "train": {"protocol"},
}
TOP_LEVEL = {
    *("xyt_stream", "client", "demos", "tests", "docs", "server.py", "pyproject.toml"),
    *("README.md", "Makefile", "constraints.txt", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("SECURITY.md", "CITATION.cff", "mkdocs.yml"),
}


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def part_of(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    """Modules that a file imports: at its top, inside a function, or for types only."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "xyt_stream.Codec":  # the public name, as users import it
                found.add("xyt_stream.streaming.codec")
            elif name.startswith("xyt_stream."):
                found.add(name if name in MODULES else name.rpartition(".")[0])
    return found - {"xyt_stream", module_of(path)}


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_lower_floors_or_its_own_folder(module: str) -> None:
    part = part_of(module)
    for used in {part_of(used) for used in imports(MODULES[module])} - {part}:
        assert FLOORS[used] < FLOORS[part], f"{part} stands too low for {used}"
        assert used not in MAY_NOT_USE.get(part, ()), f"{part} does without {used}"


@pytest.mark.parametrize("module", [each for each in MODULES if ".server." in each])
def test_the_server_s_folders_import_lower_folders_only(module: str) -> None:
    part = module.split(".")[2]
    inside = {used.split(".")[2] for used in imports(MODULES[module]) if ".server." in used}
    for used in inside - {part}:
        assert SERVER_FLOORS[used] < SERVER_FLOORS[part], f"{part} stands too low for {used}"


def test_imports_never_run_in_a_circle() -> None:
    graph = {module: imports(path) for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("part", ["protocol", "client", "edge", "audio", "delay", "errors"])
def test_no_torch_is_loaded_without_need(part: str) -> None:
    modules = [module for module in MODULES if part_of(module) == part]
    assert modules
    code = "import sys\n" + "".join(f"import {module}\n" for module in modules)
    code += "heavy = {'torch', 'xyt_stream.model', 'xyt_stream.streaming'} & sys.modules.keys()\n"
    code += "sys.exit(f'loads {heavy}' if heavy else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_else_lies_at_the_top() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    names = {line.split("/")[0] for line in listing.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL
