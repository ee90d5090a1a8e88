"""The JSON schema of mappings: `python -m fleet_ingest.mapping_schema` writes it beside this file."""

import json
from pathlib import Path

from fleet_ingest.mapping import Mapping

PATH = Path(__file__).parent / "mapping.schema.json"


def schema_text() -> str:
    """The schema (JSON Schema 2020-12), with a final newline."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Mapping.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(schema_text(), encoding="utf-8")
