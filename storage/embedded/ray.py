"""The embedded Ray head: one node on loopback, with its own token, bounded object store, temporary files out of the
home.

Traps that this file knows: without the last variable of `_SHARED` Ray replaces 127.0.0.1 by the machine's address on
Linux (on macOS it does not) and listens to the network; `ray start` makes no token by itself, and without one anybody
who reaches the port runs code; the autoscaler's metrics have a fixed port unless given one; socket paths under the
temporary directory may not exceed 103 bytes on macOS; a head that is told to stop drains for up to 30 s. Ray is not
imported here.
"""

import importlib.util
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from storage.embedded.files import create_private
from storage.embedded.home import Home
from storage.embedded.service import Health, ServiceSpec

SERVICE = "ray"
OBJECT_STORE_BYTES = 200_000_000
PORTS = {
    "gcs": "port",
    "objects": "object-manager-port",
    "node": "node-manager-port",
    "agent": "dashboard-agent-listen-port",
    "agent_grpc": "dashboard-agent-grpc-port",
    "runtime_env": "runtime-env-agent-port",
    "metrics": "metrics-export-port",
    "dashboard": "dashboard-port",
}
_AUTOSCALER, _CLIENT = "autoscaler", "client"
_SHARED = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def ray_service(
    home: Home, *, cpus: int | None = None, gpus: int | None = None, object_store_bytes: int = OBJECT_STORE_BYTES
) -> ServiceSpec:
    """The service `ray`. `cpus` None takes the machine's; `gpus` None lets Ray find them. Makes the token.

    It is not started again after a crash under the same driver: a driver cannot reconnect to another head, but the next
    one can, so `restart` stays on.
    """
    ensure_token(token_path(home))
    options = {name: f"--{option}={{port:{name}}}" for name, option in PORTS.items()}
    if importlib.util.find_spec("grpc") is not None:
        # with grpc installed Ray opens its client server, on a fixed port unless given one
        options[_CLIENT] = f"--ray-client-server-port={{port:{_CLIENT}}}"
    argv = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", *options.values()),
        *("--include-dashboard=false", "--include-log-monitor=false", "--disable-usage-stats", "--log-color=false"),
        f"--num-cpus={cpus or os.cpu_count() or 1}",
        f"--object-store-memory={object_store_bytes}",
        "--temp-dir={runtime}/ray",
    ]
    if gpus is not None:
        argv.append(f"--num-gpus={gpus}")
    return ServiceSpec(
        name=SERVICE,
        argv=tuple(argv),
        ports=(*options, _AUTOSCALER),
        env={
            **_SHARED,
            "RAY_AUTH_TOKEN_PATH": str(token_path(home)),
            "AUTOSCALER_METRIC_PORT": f"{{port:{_AUTOSCALER}}}",
        },
        health=(Health(tcp="gcs"), Health(tcp="node"), Health(tcp="runtime_env")),
        start_timeout_s=120.0,
        stop_timeout_s=4.0,
        scratch=("{runtime}/ray",),
    )


def token_path(home: Home) -> Path:
    return home.path / "ray-token"


def ensure_token(path: Path) -> None:
    """Makes a random token at `path`, mode 0600, unless there is one."""
    create_private(path, secrets.token_hex(32).encode())


def address(ports: Mapping[str, int]) -> str:
    """What `ray.init(address=...)` takes."""
    return f"127.0.0.1:{ports['gcs']}"


def client_environment(home: Home, ports: Mapping[str, int]) -> dict[str, str]:
    """What a driver must have in its environment before it imports ray; then `ray.init()` finds the head."""
    return {**_SHARED, "RAY_ADDRESS": address(ports), "RAY_AUTH_TOKEN_PATH": str(token_path(home))}
