"""Where the API finds its catalog, its object store and its secret: one JSON file, named by SIM2REAL_API_CONFIG."""

import os
from pathlib import Path

from pydantic import Field

from storage.contracts.base import Contract
from storage.contracts.errors import InputError
from storage.objects import S3Config

VARIABLE = "SIM2REAL_API_CONFIG"


class ApiSettings(Contract):
    """`secret_file`: at least 16 bytes that only the installation's owner may read; tokens are signed with it.

    `hosts`: names under which the API may be called, against pages that make a browser call it under another one;
    `origins`: where the operators' page is served from, beside those names (for a proxy in front, e.g.
    `https://robots.example.org`).
    """

    catalog_url: str
    s3: S3Config
    secret_file: Path
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    origins: tuple[str, ...] = ()
    robot_token_s: float = Field(default=900.0, gt=0)
    operator_token_s: float = Field(default=12 * 3600.0, gt=0)
    grace_s: float = Field(default=3 * 86_400.0, gt=0)
    """How long the parts of an upload are kept to which nothing comes any more."""

    def secret(self) -> bytes:
        """Raises InputError when the file is missing or too short."""
        try:
            secret = self.secret_file.read_bytes().strip()
        except OSError as error:
            raise InputError(f"cannot read the API's secret: {error}", remedy="`sim2real up` makes one.") from error
        if len(secret) < 16:
            raise InputError(f"the API's secret in {self.secret_file} has {len(secret)} bytes; at least 16 are needed")
        return secret

    def page_origins(self, port: int) -> tuple[str, ...]:
        """Origins of the operators' page when the API listens on `port`."""
        return (*(f"http://{host}:{port}" for host in self.hosts), *self.origins)


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
