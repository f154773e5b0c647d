"""Write docs/record.schema.json, the JSON schema of record.json, from its Python type: python tools/schema.py."""

import json
from pathlib import Path

from longlag.files import write_text
from longlag.records.store import json_schema

PAGE = Path(__file__).parents[1] / "docs" / "record.schema.json"

if __name__ == "__main__":
    write_text(PAGE, json.dumps(json_schema(), indent=1) + "\n")
