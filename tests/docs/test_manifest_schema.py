import json
from pathlib import Path

import pytest

from biounet_edge import default_bundle
from biounet_edge.bundle.manifest import Manifest

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "manifest.schema.json"


def test_schema_is_what_the_code_says():
    written = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert written == Manifest.model_json_schema(), "write it again with the command in docs/embedding.md"


def test_schema_describes_every_field():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    sections = [schema, *schema["$defs"].values()]
    fields = {name: field for section in sections for name, field in section["properties"].items()}
    assert [name for name, field in fields.items() if "description" not in field] == []


def test_demo_bundle_fits_the_schema():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is in requirements/dev.txt")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    manifest = json.loads((default_bundle() / "manifest.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(manifest)
    with pytest.raises(jsonschema.ValidationError, match=r"3 is not one of \[1, 2\]"):
        jsonschema.Draft202012Validator(schema).validate(manifest | {"format": 3})
