"""Checks of this machine and installation, each with its remedy. Nothing is changed."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass

from flows.settings import Settings
from flows.status import has_catalog
from storage.catalog.catalog import Catalog
from storage.contracts.errors import Sim2RealError
from storage.embedded.home import Home
from storage.objects import ObjectStore

_MIN_FREE_GB = 2.0
_PACKAGES = ("torch", "ray", "prefect", "boto3", "sqlalchemy", "fastapi", "onnxruntime", "pyarrow", "matplotlib")


@dataclass(frozen=True)
class Finding:
    what: str
    found: str
    ok: bool
    remedy: str = ""


def examine() -> list[Finding]:
    """All findings; `ok` False where something has to be done."""
    settings = Settings()
    home = Home(settings.home)
    return [_python(), _packages(), _standins(), _disk(home), _shell(), _catalog(settings, home), _objects(settings)]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        "Python", found, sys.version_info >= (3, 11), "Install Python 3.11 or newer and run 'make setup' again."
    )


def _packages() -> Finding:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    return Finding(
        "packages", f"missing: {', '.join(missing)}" if missing else "all there", not missing, "Run 'make setup'."
    )


def _standins() -> Finding:
    there = importlib.util.find_spec("mujoco") is not None
    return Finding(
        "stand-in robots",
        "available" if there else "no physics engine",
        there,
        "pip install 'sim2real-engine[standins]'",
    )


def _disk(home: Home) -> Finding:
    place = next(p for p in (home.path, *home.path.parents) if p.exists())
    free = shutil.disk_usage(place).free / 1e9
    return Finding(
        "disk",
        f"{free:.1f} GB free at {place}",
        free > _MIN_FREE_GB,
        "Free some space, or set SIM2REAL_HOME to a larger disk.",
    )


def _shell() -> Finding:
    names = sorted(n for n in os.environ if n.startswith(("AWS_", "PREFECT_", "RAY_")) or n.lower().endswith("_proxy"))
    return Finding("shell", f"ignored here: {', '.join(names)}" if names else "no foreign settings", True)


def _catalog(settings: Settings, home: Home) -> Finding:
    if settings.catalog_url is None and not has_catalog(home):
        return Finding("catalog", f"none yet at {home.path}", True)
    try:
        Catalog.open(settings.catalog_url or home.catalog_url).close()
    except Sim2RealError as error:
        return Finding("catalog", str(error), False, error.remedy)
    return Finding("catalog", "opens", True)


def _objects(settings: Settings) -> Finding:
    try:
        config = settings.s3
        if config is None:
            return Finding("object store", "embedded", True)
        ObjectStore(config).check()
    except Sim2RealError as error:
        return Finding("object store", str(error), False, error.remedy)
    return Finding("object store", config.place, True)
