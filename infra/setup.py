"""Makes ``.venv`` hold exactly what the lock files say, then the project itself; does nothing when it already does.

Usage: ``infra/setup.sh engine [dev] [bench]`` (the make targets call it). Standard library only. Safe when two run at
once (pip inherits the lock, so that a killed setup's pip is waited for) and after a kill (see `setup_repair.py`). Does
not choose between CPU and CUDA builds of PyTorch: pip takes what its configuration finds, or what TORCH_INDEX names.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "infra"))

from setup_repair import forget_damaged  # noqa: E402  (isolated mode leaves the script's folder off the path)

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "infra" / "lock"
LOG = VENV / "setup.log"
MEGABYTES = {"engine": 515, "dev": 215, "bench": 1}  # downloads on Linux x86_64, measured; PyTorch apart
TORCH_MEGABYTES = 200  # CPU build
FREE_GIGABYTES = 4
PIP = [str(PYTHON), "-I", "-u", "-m", "pip", "--disable-pip-version-check", "--no-input"]
INSTALL = ["install", "--no-compile", "--progress-bar", "off"]
# Settings of the user's shell that would send packages elsewhere than into .venv.
MISLEADING = (
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_CONSTRAINT",
    "PIP_NO_DEPS",
)


class SetupError(Exception):
    """One sentence on what is missing and what to do about it."""


def say(text: str) -> None:
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


def show(text: str) -> None:
    """Overwrites the terminal's last line; silent where there is no terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K{text and 'setup: ' + text}")
        sys.stdout.flush()


def check_prerequisites() -> None:
    """Raises SetupError with a remedy when this machine cannot hold the environment."""
    system, machine = platform.system(), platform.machine()
    if system not in ("Linux", "Darwin"):
        raise SetupError(f"{system} is not supported: on Windows, run this inside WSL.")
    if system == "Darwin" and (machine != "arm64" or int(platform.mac_ver()[0].split(".")[0]) < 14):
        raise SetupError(
            f"needs macOS 14 or newer on Apple silicon, not {platform.mac_ver()[0]} on {machine}: use a Linux machine."
        )
    for tool in ("git", "make"):
        if shutil.which(tool) is None:
            remedies = f"Debian and Ubuntu: 'sudo apt install {tool}'; macOS: 'xcode-select --install'"
            raise SetupError(f"'{tool}' is missing: install it ({remedies}).")
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < FREE_GIGABYTES and not VENV.exists():
        wanted = f"needs about {FREE_GIGABYTES} GB of disk"
        raise SetupError(f"{wanted}, but {ROOT} has {free:.1f} GB free: make room or clone elsewhere.")


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in MISLEADING}


def works(command: list[str]) -> bool:
    """Runs a command in silence; False when it fails or does not exist."""
    try:
        return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_environment() -> None:
    """Makes ``.venv`` with pip in it, by whichever of five ways this machine allows."""
    base, venv = [sys.executable, "-I", "-m"], str(VENV)
    ways = [
        [[*base, "venv", "--clear", venv]],
        [[*base, "virtualenv", "--clear", "-q", venv]],
        [["virtualenv", "--clear", "-q", "-p", sys.executable, venv]],
        [["uv", "venv", "-q", "--clear", "--seed", "-p", sys.executable, venv]],
        # Debian without python3-venv: no ensurepip, but perhaps a system pip, which can serve another interpreter.
        [
            [*base, "venv", "--clear", "--without-pip", venv],
            [*base, "pip", "--python", str(PYTHON), "install", "-q", "pip"],
        ],
    ]
    for steps in ways:
        if all(works(step) for step in steps) and works([*PIP, "--version"]):
            return
    raise SetupError(
        f"{sys.executable} cannot make a virtual environment (its ensurepip is missing): install it "
        f"(Debian and Ubuntu: 'sudo apt install python3-venv') or name another Python with PYTHON=/path/to/python."
    )


def is_ours() -> bool:
    """Whether ``.venv`` has a fitting Python with pip, made at this path (a moved clone's scripts point elsewhere)."""
    fits = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))"
    script = VENV / "bin" / "pip"
    made_here = script.is_file() and str(VENV) in script.read_text()
    return made_here and works([str(PYTHON), "-I", "-c", fits]) and works([*PIP, "--version"])


def key(group: str) -> str:
    """Returns the digest of everything that decides what a group's installation holds."""
    digest = hashlib.sha256(f"{VENV}\0{sysconfig.get_platform()}\0{os.environ.get('TORCH_INDEX', '')}\0".encode())
    names = {"engine": ["engine.txt", "torch.txt"], "project": ["../../pyproject.toml"]}.get(group, [f"{group}.txt"])
    for name in names:
        digest.update((LOCK / name).read_bytes())
    return digest.hexdigest()


def stamp(group: str) -> Path:
    return VENV / f".stamp-{group}"


def is_current(group: str) -> bool:
    path = stamp(group)
    return path.is_file() and path.read_text() == key(group)


def size_of_lock(group: str) -> int:
    return sum("==" in line for line in (LOCK / f"{group}.txt").read_text().splitlines())


def start_pip(arguments: list[str], held: int) -> subprocess.Popen[str]:
    """Starts ``pip install`` in ``.venv``; it inherits ``held``, the descriptor of the setup lock."""
    return subprocess.Popen(
        [*PIP, *INSTALL, *arguments],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(held,),
    )


def pip(arguments: list[str], what: str, total: int, held: int) -> None:
    """Runs pip with its talk kept in the log, counting packages aloud. Raises SetupError with pip's own errors."""
    errors: list[str] = []
    started, seen = time.monotonic(), 0
    with LOG.open("a") as log, start_pip(arguments, held) as process:
        for line in process.stdout or ():
            log.write(line)
            if line.startswith("ERROR") or "No space left" in line:
                errors.append(line.strip())
            elif line.startswith(("Collecting", "Processing", "Requirement already")):
                seen += 1
                show(f"{what}: {min(seen, total)} of {total}")
            elif line.startswith("Installing collected"):
                show(f"{what}: unpacking (a minute at most)")
    show("")
    if process.returncode:
        raise SetupError(f"pip could not install {what}: {remedy(errors)}\n" + "\n".join(errors[-4:]))
    say(f"{what}: done in {time.monotonic() - started:.0f} s")


def remedy(errors: list[str]) -> str:
    """Returns the likely cause of pip's errors as a sentence, with the place of its full log."""
    text = " ".join(errors)
    if "No space left" in text:
        cause = "the disk is full, make room and run it again"
    elif "HASHES" in text or "hash" in text:
        cause = "a downloaded file is not the one that was locked, check the package index that pip is configured with"
    elif "No matching distribution" in text or "Could not find" in text:
        cause = "the package index does not serve it or cannot be reached, check the network and `pip config list`"
    else:
        cause = "see its log"
    return f"{cause} (log: {LOG})."


def has_local_torch() -> bool:
    """Whether a folder that pip is told to look in (``find-links``) holds PyTorch."""
    command = [*PIP, "config", "list"]
    listed = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False).stdout
    folders = [Path(word) for value in re.findall(r"find-links='(.*)'", listed) for word in value.split()]
    return any(True for folder in folders for _ in folder.glob("torch-*.whl"))


def announce(groups: list[str]) -> None:
    count = sum(size_of_lock(group) for group in groups) + ("engine" in groups)
    megabytes = sum(MEGABYTES[group] for group in groups) + TORCH_MEGABYTES * ("engine" in groups)
    say(f"downloads up to {count} packages, about {megabytes} MB, into {VENV.relative_to(ROOT)} (nothing outside it).")
    gpu = Path("/proc/driver/nvidia").exists() or Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()
    chosen = gpu or os.environ.get("TORCH_INDEX") or has_local_torch()
    if "engine" in groups and platform.system() == "Linux" and not chosen:
        say("no GPU seen, yet pip may take PyTorch's CUDA build (3 GB); for the CPU build (0.2 GB) stop and set")
        say("TORCH_INDEX=https://download.pytorch.org/whl/cpu")


def install(group: str, held: int) -> None:
    """Installs one group; the stamp is taken away first and put back last."""
    stamp(group).unlink(missing_ok=True)
    locked = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    if group == "project":
        pip(["--no-deps", "--no-build-isolation", "-e", "."], "sim2real itself", 1, held)
    else:
        pip([*locked, "-r", str(LOCK / f"{group}.txt")], f"{group} packages", size_of_lock(group), held)
    if group == "engine":
        index = os.environ.get("TORCH_INDEX")
        source = ["--index-url", index] if index else []
        # With its dependencies, all locked above: a CUDA build brings its CUDA packages, a CPU build nothing.
        pip([*source, "--only-binary", ":all:", "-r", str(LOCK / "torch.txt")], "PyTorch", 1, held)
    stamp(group).write_text(key(group))


def run(groups: list[str], held: int) -> None:
    """Brings ``.venv`` up to date for the groups. ``held``: the descriptor of the setup lock."""
    check_prerequisites()
    if not is_ours():
        say(f"makes {VENV.relative_to(ROOT)} with Python {platform.python_version()} ({sys.executable}).")
        make_environment()
    LOG.write_text("")
    forget_damaged(VENV, say)
    todo = [group for group in groups if not is_current(group)]
    announce([group for group in todo if group != "project"]) if todo != ["project"] else None
    for group in todo:
        install(group, held)


def main(arguments: list[str]) -> int:
    groups = [*arguments, "project"]
    if all(is_current(group) for group in groups):
        return 0
    with (LOCK / "engine.txt").open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another setup is at work in this folder; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if not all(is_current(group) for group in groups):
                run(groups, handle.fileno())
        except SetupError as error:
            sys.stderr.write(f"setup: {error}\n")
            return 1
        except KeyboardInterrupt:
            sys.stderr.write("\nsetup: interrupted; the next run repairs and goes on.\n")
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
