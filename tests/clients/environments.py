"""Makes the environments that third-party clients run in, apart from the project's own.

Each is made once, under `.clients/`, and again when its requirements change.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".clients"


def python(name: str) -> Path:
    """The interpreter of a virtual environment with what `requirements/NAME.txt` lists."""
    folder, requirements = HOME / name, HERE / "requirements" / f"{name}.txt"
    interpreter = folder / "bin" / "python"
    if _is_stale(folder, requirements):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = ("-m", "pip", "install", "--quiet", "--requirement", requirements)
        subprocess.run([interpreter, *install], check=True)
        shutil.copy(requirements, folder / "installed")
    return interpreter


def node() -> Path:
    """A folder with the scripts for Node and with the packages that its lock file lists."""
    folder, lock = HOME / "node", HERE / "node" / "package-lock.json"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (HERE / "node").glob("*.*"):
        shutil.copy(file, folder)
    if _is_stale(folder, lock):
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=folder, check=True)
        shutil.copy(lock, folder / "installed")
    return folder


def _is_stale(folder: Path, wanted: Path) -> bool:
    """Whether an environment was made from something else than the file, or not at all."""
    made = folder / "installed"
    return not made.exists() or made.read_bytes() != wanted.read_bytes()
