"""Meta's published description of its API as a judge: JSON Schema over the bodies, by jsonschema-rs.

The document says `allOf: [base, {additionalProperties: false, …}]`, which read word by word forbids the base's own
fields; like Prism, this takes such a pair as one object. A type that is told by its `discriminator` is judged as that.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs
import yaml

from peers.prism import spec

_FILE = "meta_whatsapp_cloud_api_v23.yaml"


@cache
def _document() -> dict[str, Any]:
    return yaml.load(spec(_FILE).read_bytes(), Loader=yaml.CSafeLoader)


def schemas() -> dict[str, Any]:
    """Every schema of the document, by name. Skips the test where the document is absent."""
    return _document()["components"]["schemas"]


def examples() -> dict[str, Any]:
    """Meta's own examples of what it calls us with, by name."""
    call = _document()["paths"]["/whatsapp/webhooks"]["post"]["requestBody"]
    return {name: item["value"] for name, item in call["content"]["application/json"]["examples"].items()}


def _whole(schema: Any) -> Any:
    """Without `$ref`, and each `allOf` as one object."""
    if isinstance(schema, list):
        return [_whole(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _whole(schemas()[schema["$ref"].rpartition("/")[2]])
    made = {name: _whole(value) for name, value in schema.items() if name not in ("allOf", "discriminator", "example")}
    for part in (_whole(item) for item in schema.get("allOf", ())):
        made["properties"] = {**made.get("properties", {}), **part.get("properties", {})}
        made["required"] = sorted({*made.get("required", ()), *part.get("required", ())})
        made |= {name: value for name, value in part.items() if name not in ("properties", "required")}
    return made


@cache
def _judge(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(_whole(schemas()[name]), validate_formats=True)


def load() -> None:
    """Reads the document and makes the judges of all messages."""
    for ref in schemas()["Message"]["discriminator"]["mapping"].values():
        _judge(ref.rpartition("/")[2])


def complaints(name: str, body: Any) -> list[str]:
    """What is wrong with `body` as the schema `name`: empty if nothing is."""
    table = schemas()[name].get("discriminator")
    if table is not None:
        kind = body.get("type")
        if kind not in table["mapping"]:
            return [f"type {kind!r} is none of {sorted(table['mapping'])}"]
        name = table["mapping"][kind].rpartition("/")[2]
    found = [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in _judge(name).iter_errors(body)]
    for component in (body.get("template") or {}).get("components", ()) if name == "TemplateMessage" else ():
        found += complaints("TemplateComponent", component)
        if component["type"] != "button":
            for parameter in component.get("parameters", ()):
                found += complaints("ParameterObject", parameter)
    return found


@cache
def _inbound_judge(name: str) -> jsonschema_rs.Validator:
    own = schemas()[name]["allOf"][1:]
    whole = {"allOf": [{"$ref": "#/components/schemas/BaseMessageProperties_1"}, *own]}
    return jsonschema_rs.validator_for(_whole(whole), validate_formats=True)


def inbound_complaints(name: str, message: Any) -> list[str]:
    """What is wrong with a message from a person as the schema `name`, whose base the document mixes up with that of ours."""
    return [f"{error.instance_path}: {error.message}" for error in _inbound_judge(name).iter_errors(message)]
