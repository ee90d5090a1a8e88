"""Where the engine's servers are: embedded under the home, or yours by `SIM2REAL_*` variables.

A server whose variable is unset is embedded. Variables of other programs (`AWS_*`, `PREFECT_*`, `RAY_ADDRESS`, proxies)
are never read here: they configure those programs, not this engine.
"""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.contracts.errors import InputError
from storage.embedded.home import Home
from storage.s3.config import S3Config


class Settings(BaseSettings):
    """Read from the environment, prefix `SIM2REAL_`. `workers` is the number of Ray workers that train side by side."""

    model_config = SettingsConfigDict(env_prefix="SIM2REAL_", extra="ignore")

    home: Path = Field(default_factory=lambda: Home.default().path)
    catalog_url: str | None = None
    s3_endpoint: str | None = None
    s3_bucket: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key_id: str | None = None
    s3_secret_access_key: SecretStr | None = None
    prefect_api_url: str | None = None
    ray_address: str | None = None
    workers: int = Field(default=2, ge=1, le=64)
    min_free_mb: int = Field(default=500, ge=0)
    """Free space without which the embedded object store is not started."""

    @property
    def s3(self) -> S3Config | None:
        """The configured object store, or None for the embedded one. Raises InputError when only half is configured."""
        if self.s3_bucket is None and self.s3_endpoint is None:
            return None
        if self.s3_bucket is None:
            raise InputError(
                f"SIM2REAL_S3_ENDPOINT is set to '{self.s3_endpoint}' but SIM2REAL_S3_BUCKET is not",
                remedy="Set SIM2REAL_S3_BUCKET to an existing bucket, or unset both for the embedded store.",
            )
        return S3Config(
            endpoint_url=self.s3_endpoint,
            region=self.s3_region,
            bucket=self.s3_bucket,
            access_key_id=self.s3_access_key_id,
            secret_access_key=self.s3_secret_access_key,
        )
