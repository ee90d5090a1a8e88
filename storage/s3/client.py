"""A boto3 client that the user's shell cannot disturb, and calls that outlive a restart of the server.

Retries happen here and not in botocore, so that the time until a clear error is bounded: about 8 s for an endpoint
that this process never reached (it is wrong or down), 25 s for one that answered before (it is being restarted). This
module knows no key and no digest.
"""

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.configprovider import (
    BOTOCORE_DEFAUT_SESSION_VARIABLES as SESSION_VARIABLES,
)
from botocore.configprovider import ConstantProvider
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, PartialCredentialsError

from storage.contracts.errors import InputError, Sim2RealError, UnavailableError
from storage.s3.config import S3Config

T = TypeVar("T")

PATIENCE_FIRST_S = 7.0
PATIENCE_AGAIN_S = 25.0
# The description of S3 takes 20 MB and 0.2 s to read: once in a process, not once a client.
_DESCRIPTIONS = botocore.loaders.create_loader()
_CONNECT_TIMEOUT_S = 3.0
_READ_TIMEOUT_S = 30.0
_CREDENTIAL_CODES = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403", "ExpiredToken", "InvalidToken"}
)
_TRANSIENT_CODES = frozenset(
    {
        "SlowDown",
        "RequestTimeout",
        "InternalError",
        "ServiceUnavailable",
        "ConditionalRequestConflict",
        "OperationAborted",
    }
)


def make_client(config: S3Config) -> Any:
    """A boto3 S3 client.

    With keys in `config`, AWS_* variables, profiles, configuration files and proxies are not read.
    """
    isolated = config.access_key_id is not None
    session = boto3.session.Session(botocore_session=_isolated_session()) if isolated else boto3.session.Session()
    options: dict[str, Any] = {
        "signature_version": "s3v4",
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _READ_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "max_pool_connections": 16,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if isolated:
        options |= {"proxies": {}, "ignore_configured_endpoint_urls": True}
    if config.endpoint_url is not None:
        options["s3"] = {"addressing_style": "path"}
    keys: dict[str, Any] = {}
    if isolated:
        secret = config.secret_access_key.get_secret_value() if config.secret_access_key else None
        keys = {"aws_access_key_id": config.access_key_id, "aws_secret_access_key": secret}
    verify: bool | str | None = config.ca_bundle or (True if isolated else None)
    return session.client(
        "s3",
        region_name=config.region,
        endpoint_url=config.endpoint_url,
        config=Config(**options),
        verify=verify,
        **keys,
    )


def _isolated_session() -> botocore.session.Session:
    """A botocore session in which every setting has its built-in default, whatever the environment says."""
    session = botocore.session.Session()
    session.register_component("data_loader", _DESCRIPTIONS)
    store = session.get_component("config_store")
    for name, (_, _, default, _) in SESSION_VARIABLES.items():
        store.set_config_provider(
            name, ConstantProvider(None if name in ("config_file", "credentials_file") else default)
        )
    store.set_config_provider("s3", ConstantProvider(None))
    store.set_config_provider("proxies_config", ConstantProvider(None))
    return session


class Caller:
    """Runs calls against one service, retries what is transient and translates what is not."""

    def __init__(self, config: S3Config) -> None:
        self.config = config
        self.client = make_client(config)
        self._reached = False

    def __call__(self, what: str, action: Callable[[], T], *, expected: frozenset[str] = frozenset()) -> T:
        """The result of `action`, which must be safe to run twice.

        A ClientError whose code is in `expected` goes through unchanged. Raises UnavailableError when the service
        cannot be reached, InputError when it refuses the credentials or has no such bucket.
        """
        start = time.monotonic()
        attempt = 0
        while True:
            try:
                result = action()
            except ClientError as error:
                if error_code(error) in expected:
                    self._reached = True
                    raise
                if not _is_transient(error):
                    raise self._translate(what, error) from error
                failure: Exception = error
            except (NoCredentialsError, PartialCredentialsError) as error:
                raise InputError(
                    f"no credentials for {self.config.place}: {error}",
                    remedy="Set access_key_id and secret_access_key, or AWS_PROFILE.",
                ) from error
            except (BotoCoreError, HTTPClientError, ConnectionError, TimeoutError) as error:
                failure = error
            else:
                self._reached = True
                return result
            attempt += 1
            pause = min(2.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0)
            if time.monotonic() - start + pause > (PATIENCE_AGAIN_S if self._reached else PATIENCE_FIRST_S):
                raise UnavailableError(
                    f"the object store at {self.config.place} cannot be reached: {what} failed {attempt} times in "
                    f"{time.monotonic() - start:.0f} s; last: {failure}",
                    remedy="Check that the server runs and that endpoint_url is right.",
                ) from failure
            time.sleep(pause)

    def _translate(self, what: str, error: ClientError) -> Sim2RealError:
        code = error_code(error)
        if code == "NoSuchBucket":
            return InputError(
                f"there is no bucket '{self.config.bucket}' at {self.config.endpoint_url or 'AWS S3'}",
                remedy="Create the bucket, or correct its name in the configuration.",
            )
        if code in _CREDENTIAL_CODES:
            key = self.config.access_key_id or "(from the default chain)"
            return InputError(
                f"{self.config.place} refused the credentials with key id '{key}': {what}: {code}",
                remedy="Check access_key_id, secret_access_key and the rights of that key.",
            )
        return UnavailableError(f"{self.config.place} refused {what}: {error}")


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _is_transient(error: ClientError) -> bool:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return error_code(error) in _TRANSIENT_CODES or status >= 500 or status == 429
