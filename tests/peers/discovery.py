"""A judge of JSON requests: a Google API's discovery document, from the cache of google-api-python-client.

Unknown names, wrong types and values outside an enum are faults. Source: Google API Discovery, "Type and format summary"
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient

_FORMATS = {"google-duration": re.compile(r"\d+(\.\d{1,9})?s"), "int32": re.compile(r"-?\d{1,10}")}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "boolean": bool, "number": (int, float), "object": dict, "array": list
}  # fmt: skip


@cache
def document(name: str) -> dict[str, Any]:
    """A document such as `fcm.v1`."""
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def faults(name: str, schema: str, value: Any) -> list[str]:
    """Everything in `value` that the schema of the document does not know."""
    return _object(document(name)["schemas"], schema, value, schema)


def _object(schemas: dict[str, Any], schema: str, value: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: no object"]
    known = schemas[schema]["properties"]
    found = [f"{at}.{name}: unknown" for name in value if name not in known]
    for name, inner in value.items():
        if name in known:
            if known[name].get("description", "").startswith("Output"):
                found.append(f"{at}.{name}: output only")
            found += _value(schemas, known[name], inner, f"{at}.{name}")
    return found


def _value(schemas: dict[str, Any], rule: dict[str, Any], value: Any, at: str) -> list[str]:
    if "$ref" in rule:
        return _object(schemas, rule["$ref"], value, at)
    kind = rule.get("type", "any")
    if kind != "any" and (not isinstance(value, _KINDS[kind]) or (kind == "integer" and isinstance(value, bool))):
        return [f"{at}: no {kind}: {value!r}"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{at}: {value!r} is none of {rule['enum']}"]
    form = _FORMATS.get(rule.get("format", ""))
    if form is not None and not form.fullmatch(str(value)):
        return [f"{at}: {value!r} is no {rule['format']}"]
    if kind == "array":
        return [fault for n, one in enumerate(value) for fault in _value(schemas, rule["items"], one, f"{at}[{n}]")]
    if kind == "object" and "additionalProperties" in rule:
        inner = rule["additionalProperties"]
        return [fault for name, one in value.items() for fault in _value(schemas, inner, one, f"{at}.{name}")]
    return []
