"""The OpenAPI 3.1 document, built from the declarations of the routes. Source: OpenAPI Specification 3.1.1."""

import re
from importlib.metadata import version
from typing import Any, Final, cast

import msgspec
from litestar import Litestar

from tidings.http.auth import SCOPES
from tidings.http.problem import CODES, Problem
from tidings.http.route import Spec, spec_of
from tidings.kit.limits import IDEMPOTENCY_KEY_CHARS

_REF: Final = "#/components/schemas/{name}"
_EXAMPLES: Final[dict[str, Any]] = {
    "/v1/messages": {
        "to": "+15005550001", "text": "Your order {{ order.id }} shipped", "data": {"order": {"id": 7}},
        "reference": "order-1001",
    },
    "/v1/messages/batch": {"messages": [{"to": "+15005550001", "text": "Hello"}]},
    "/v1/messages/preview": {"to": "+15005550001", "text": "Grüße 🎉"},
    "/v1/verifications": {"to": "+15005550001", "brand": "ACME", "reference": "user-42"},
    "/v1/verifications/{verification_id}/check": {"code": "123456"},
    "/v1/verifications/prefixes": {"prefix": "+4915"},
    "/v1/routes": {
        "name": "uk", "to": ["+44"], "targets": [{"provider": "sandbox", "weight": 1, "cost_per_part": 0.02}],
    },
    "/v1/routes/{route_id}": {"name": "uk", "to": ["+44", "IE"], "targets": [{"provider": "sandbox"}]},
    "/v1/suppressions": {"to": "+15005550001", "channel": "sms", "reason": "manual"},
    "/v1/keys": {"name": "shop", "mode": "test", "scopes": ["messages:write", "messages:read"]},
    "/v1/projects": {"name": "Acme"},
    "/v1/providers/{provider_id}/media": {"media_type": "image/png", "data": "iVBORw0KGgo="},
    "/v1/providers": {"name": "acme-smsc", "type": "sms.smpp", "config": {"host": "127.0.0.1", "port": 2775}},
}  # fmt: skip
_TITLES: Final = {status: title for status, title, _ in reversed(CODES.values())}


def specs(app: Litestar) -> list[Spec]:
    """The declarations of all routes, by path and method."""
    found: dict[tuple[str, str], Spec] = {}
    for item in app.routes:
        for handler in getattr(item, "route_handlers", ()):
            spec = spec_of(handler.opt)
            if spec is not None:
                found[spec.path, spec.method] = spec
    return [found[key] for key in sorted(found)]


def document(app: Litestar) -> dict[str, Any]:
    """The whole document."""
    # the Twilio-compatible routes are described by Twilio's own document
    declared = [spec for spec in specs(app) if spec.media != "text/html" and not spec.path.startswith("/2010-04-01/")]
    kinds: list[Any] = [Problem]
    for spec in declared:
        kinds += [kind for kind in (spec.body, spec.query, *spec.answers.values()) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    of = {_key(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for spec in declared:
        path = re.sub(r":[a-z]+}", "}", spec.path)
        paths.setdefault(path, {})[spec.method.lower()] = _operation(spec, path, of, components)
    used = _used(paths, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidings", "version": version("tidings"), "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "One API for messages to people and back. Errors: `/docs/errors`.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name in used},
            "responses": {f"Problem{status}": _problem(status) for status in sorted(_TITLES)},
            "securitySchemes": {
                "key": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API key, `tk_live_…` or `tk_test_…`. Scopes:\n\n"
                    + "\n".join(f"- `{scope}`: {text}" for scope, text in SCOPES.items()),
                }
            },
        },
    }  # fmt: skip


def _key(kind: Any) -> str:
    return repr(kind)


def _used(paths: Any, components: dict[str, Any]) -> set[str]:
    """Names of the schemas that something refers to (the query structs are shown as parameters)."""
    used: set[str] = set()
    waiting: list[Any] = [paths, components["Problem"]]
    while waiting:
        text = msgspec.json.encode(waiting.pop()).decode()
        for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)) - used:
            used.add(name)
            waiting.append(components[name])
    return used | {"Problem"}


def _problem(status: int) -> dict[str, Any]:
    codes = [code for code, (of, _, _) in CODES.items() if of == status]
    answer: dict[str, Any] = {
        "description": f"{_TITLES[status]} ({', '.join(codes)})",
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}}
    return answer


def _statuses(spec: Spec) -> set[int]:
    found = {400, 500, 503, *spec.problems}
    if spec.scope is not None:
        found |= {401, 403, 429}
    if spec.method == "POST" or spec.body is not None:
        found |= {408, 413, 415}
    if spec.method != "GET":
        found.add(507)
    if spec.body is not None or spec.query is not None or spec.idempotent:
        found.add(422)
    return found


def _operation(spec: Spec, path: str, of: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"[^a-z0-9]+", "_", f"{spec.method.lower()}{path}").strip("_"),
        "summary": spec.summary, "tags": [spec.tag], "parameters": _parameters(spec, path, of, components),
        "responses": {str(status): _success(spec, kind, of) for status, kind in spec.answers.items()},
    }  # fmt: skip
    operation["responses"] |= {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in sorted(_statuses(spec) - set(spec.answers))
    }
    if spec.description:
        operation["description"] = spec.description
    if spec.scope is not None:
        operation["security"] = [{"key": [spec.scope]}]
        operation["x-scope"] = spec.scope
    else:
        operation["security"] = []
    if spec.body is not None:
        content: dict[str, Any] = {"schema": of[_key(spec.body)]}
        if path in _EXAMPLES:
            content["example"] = _EXAMPLES[path]
        required = spec.method != "DELETE"
        operation["requestBody"] = {"required": required, "content": {"application/json": content}}
    return operation


def _success(spec: Spec, kind: Any, of: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": spec.summary,
        "headers": {"X-Request-Id": {"schema": {"type": "string"}, "description": "In problems and in the log too"}},
    }
    if spec.scope is not None:
        for name in ("RateLimit", "RateLimit-Policy"):
            answer["headers"][name] = {
                "schema": {"type": "string"},
                "description": "draft-ietf-httpapi-ratelimit-headers",
            }
    if spec.idempotent:
        answer["headers"]["Idempotency-Replayed"] = {"schema": {"type": "string", "enum": ["true"]}}
    if kind is not None:
        answer["content"] = {spec.media: {"schema": of[_key(kind)]}}
    return answer


def _parameters(spec: Spec, path: str, of: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 200}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    if spec.query is not None:
        schema = components[cast(str, of[_key(spec.query)]["$ref"]).rsplit("/", 1)[-1]]
        for name, inner in schema["properties"].items():
            inner = _without_null(inner)
            item: dict[str, Any] = {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": inner,
            }
            if inner.get("type") == "array":
                item |= {"style": "form", "explode": False}
            found.append(item)
    if spec.idempotent:
        schema = {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS, "pattern": "^[!-~]+$"}
        text = "Kept at least 24 h: the same key and request give the first answer again"
        found.append(
            {"name": "Idempotency-Key", "in": "header", "required": False, "description": text, "schema": schema}
        )
    if spec.media == "text/event-stream":
        schema = {"type": "string", "pattern": "^[0-9]{1,16}$"}
        found.append({"name": "Last-Event-ID", "in": "header", "required": False, "schema": schema})
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return options[0]
    if None in schema.get("enum", ()):
        return {
            **{k: v for k, v in schema.items() if k != "default"},
            "enum": [v for v in schema["enum"] if v is not None],
        }
    return {k: v for k, v in schema.items() if not (k == "default" and v is None)}
