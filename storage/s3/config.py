"""Where the objects are: endpoint, bucket and keys of an S3 service."""

from pydantic import Field, SecretStr, model_validator

from storage.contracts.base import Contract
from storage.contracts.errors import ContractError


class S3Config(Contract):
    """An S3 service and a bucket. `endpoint_url` None means AWS itself.

    With keys, nothing of the user's environment, configuration files or proxies takes part; without keys boto3's
    default chain finds credentials, region overrides and proxies. `to_json` hides the secret; `reveal` is for files
    that only their owner may read.
    """

    endpoint_url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+/?$")
    region: str = "us-east-1"
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    ca_bundle: str | None = None
    """Path of a PEM file for https endpoints with their own authority."""

    @model_validator(mode="after")
    def _both_keys(self) -> "S3Config":
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ContractError(
                "give both access_key_id and secret_access_key, or neither (then boto3's default chain is used)"
            )
        return self

    @property
    def place(self) -> str:
        """For messages: endpoint and bucket."""
        return f"{self.endpoint_url or 'AWS S3 in ' + self.region} (bucket '{self.bucket}')"

    def reveal(self) -> dict[str, object]:
        """JSON values with the secret in the clear."""
        values: dict[str, object] = self.model_dump(mode="json")
        if self.secret_access_key is not None:
            values["secret_access_key"] = self.secret_access_key.get_secret_value()
        return values
