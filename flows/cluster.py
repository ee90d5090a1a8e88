"""The connection of this process to the Ray cluster: the embedded head, or the one that SIM2REAL_RAY_ADDRESS names.

Ray reads its environment when it is imported: here, once `flows.services.enter_environment` has run.
"""

import logging
import os
import sys

from storage.contracts.errors import UnavailableError


def connect() -> None:
    """Connects once; quiet. Raises UnavailableError that names the address."""
    import ray

    if ray.is_initialized():
        return
    address = os.environ["RAY_ADDRESS"]
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UnavailableError(
            f"cannot reach the Ray cluster at {address}: {error}",
            remedy="See 'sim2real status'; "
            "with a cluster of yours, check SIM2REAL_RAY_ADDRESS and RAY_AUTH_TOKEN_PATH.",
        ) from error


def disconnect() -> None:
    """Leaves the cluster, if this process ever joined one."""
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        sys.modules["ray"].shutdown()
