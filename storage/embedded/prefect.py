"""The embedded Prefect server: a real one with its own SQLite database under the home, never the ephemeral one.

The ephemeral server loses task runs under load. The server opens no connection to the outside: analytics and the
promotional content are off. Prefect is neither imported here nor the truth about anything; it schedules and shows.
"""

import sys
from collections.abc import Mapping

from storage.embedded.home import Home
from storage.embedded.service import Health, ServiceSpec

SERVICE = "prefect"
_QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_CLI_PROMPT": "false"}


def prefect_service(home: Home) -> ServiceSpec:
    """The service `prefect`. Its first start migrates the database, which takes most of the time."""
    url = api_url("{port}")
    return ServiceSpec(
        name=SERVICE,
        argv=(sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", "{port}"),
        ports=("http",),
        env={
            **_QUIET,
            "PREFECT_HOME": str(home.prefect_dir),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home.prefect_dir / 'prefect.db'}",
            "PREFECT_SERVER_UI_API_URL": url,
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        },
        health=(Health(http="/api/health"),),
        start_timeout_s=180.0,
        stop_timeout_s=8.0,
    )


def api_url(port: int | str) -> str:
    """What clients call PREFECT_API_URL. The pages are at the same place without `/api`."""
    return f"http://127.0.0.1:{port}/api"


def client_environment(home: Home, ports: Mapping[str, int]) -> dict[str, str]:
    """What a process that runs or serves flows must have in its environment before it imports prefect."""
    return {
        **_QUIET,
        "PREFECT_HOME": str(home.prefect_dir),
        "PREFECT_API_URL": api_url(ports["http"]),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # so that runs whose process was killed can be told from living ones
    }
