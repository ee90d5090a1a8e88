"""The environment that services run in: the user's, without what would lead them astray.

A shell set up for somebody's cloud account, Prefect server, Ray cluster or proxy must not reach the embedded stack.
What a service needs is given explicitly. Standard library only.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from storage.embedded.reap import MARK

POISON_PREFIXES = (
    "AWS_", "BOTO_", "S3_", "WEED_",  # other people's buckets and keys; SeaweedFS reads WEED_* and S3_* as options
    "PREFECT_", "RAY_", "DASK_",  # other servers and clusters
    "ALEMBIC_", "DATABASE_URL", "SQLALCHEMY_", "PG",  # other databases
    "UVICORN_", "GUNICORN_", "OTEL_",
)  # fmt: skip
POISON_NAMES = frozenset({"PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONBREAKPOINT", MARK})
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    )
}  # fmt: skip
# macOS looks up system-wide proxies where the variables are absent; loopback never goes through one
NO_PROXY = {name: "127.0.0.1,localhost,::1" for name in ("NO_PROXY", "no_proxy")}


def clean_environment(extra: Mapping[str, str] | None = None, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """`base` (default: this process's environment) without poison, with one thread per library, then `extra` on top."""
    found = os.environ if base is None else base
    kept = {name: value for name, value in found.items() if not _is_poison(name)}
    return {**kept, **ONE_THREAD, **NO_PROXY, **_import_path(kept), **(extra or {})}


def _is_poison(name: str) -> bool:
    return name.startswith(POISON_PREFIXES) or name in POISON_NAMES or name.upper().endswith("_PROXY")


def package_root() -> str:
    """The directory that `storage` is imported from."""
    return str(Path(__file__).resolve().parents[2])


def _import_path(kept: Mapping[str, str]) -> dict[str, str]:
    """PYTHONPATH with which a child finds this package whatever its working directory, also from a source checkout."""
    others = [entry for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != package_root()]
    return {"PYTHONPATH": os.pathsep.join([package_root(), *others])}
