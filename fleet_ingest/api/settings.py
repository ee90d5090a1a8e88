"""Where the API finds its catalog, its object store and its secret: one JSON file, named by SIM2REAL_API_CONFIG."""

import os
from pathlib import Path

from storage.contracts.base import Contract
from storage.contracts.errors import InputError
from storage.objects import S3Config

VARIABLE = "SIM2REAL_API_CONFIG"


class ApiSettings(Contract):
    """`secret_file`: at least 16 bytes that only the installation's owner may read; robots' tokens derive from it."""

    catalog_url: str
    s3: S3Config
    secret_file: Path

    def secret(self) -> bytes:
        """Raises InputError when the file is missing or too short."""
        try:
            secret = self.secret_file.read_bytes().strip()
        except OSError as error:
            raise InputError(f"cannot read the API's secret: {error}", remedy="`sim2real up` makes one.") from error
        if len(secret) < 16:
            raise InputError(f"the API's secret in {self.secret_file} has {len(secret)} bytes; at least 16 are needed")
        return secret


def settings_from_environment() -> ApiSettings:
    """Reads the file that SIM2REAL_API_CONFIG names. Raises InputError or ContractError."""
    path = os.environ.get(VARIABLE)
    if not path:
        raise InputError(
            f"{VARIABLE} is not set", remedy="Set it to the path of a JSON file: catalog_url, s3, secret_file."
        )
    try:
        return ApiSettings.from_json(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {VARIABLE}={path}: {error.strerror}") from error
