"""The environment of a command that uses the embedded Prefect server and Ray head."""

import os

from storage.embedded import prefect, ray
from storage.embedded.environment import clean_environment
from storage.embedded.home import Home
from storage.embedded.stack import Endpoints


def driver_environment(home: Home, endpoints: Endpoints) -> dict[str, str]:
    """Variables that clients of the services in `endpoints` need; merge them over `clean_environment()`."""
    found: dict[str, str] = {}
    if prefect.SERVICE in endpoints:
        found |= prefect.client_environment(home, endpoints[prefect.SERVICE])
    if ray.SERVICE in endpoints:
        found |= ray.client_environment(home, endpoints[ray.SERVICE])
    return found


def enter_driver_environment(home: Home, endpoints: Endpoints) -> None:
    """Cleans this process's own environment of the user's settings and points it at the embedded services.

    To be called before prefect, ray or boto3 are imported: they read their settings at import.
    """
    cleaned = clean_environment(driver_environment(home, endpoints))
    for name in os.environ.keys() - cleaned.keys():
        del os.environ[name]
    os.environ.update(cleaned)
