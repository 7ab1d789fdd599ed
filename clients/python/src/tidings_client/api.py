"""Every call of the API, as data: sync and async clients carry out the same ones."""

import datetime as dt
from typing import Any, TypeVar

from tidings_client import models
from tidings_client.core import Call, call, part, words

T = TypeVar("T")


def send(request: dict[str, Any], idempotency_key: str | None) -> Call[models.Message]:
    return call("POST", "/v1/messages", models.Message, body=request, idempotency_key=idempotency_key)


def send_batch(requests: list[dict[str, Any]], idempotency_key: str | None) -> Call[models.Batch]:
    body = {"messages": [words(request) for request in requests]}
    return call("POST", "/v1/messages/batch", models.Batch, body=body, idempotency_key=idempotency_key)


def preview(request: dict[str, Any]) -> Call[dict[str, Any]]:
    return call("POST", "/v1/messages/preview", dict[str, Any], body=request)


def message(message_id: str) -> Call[models.Message]:
    return call("GET", f"/v1/messages/{part(message_id)}", models.Message)


def timeline_path(message_id: str) -> str:
    return f"/v1/messages/{part(message_id)}/events"


def deliveries_path(endpoint_id: str) -> str:
    return f"/v1/webhooks/{part(endpoint_id)}/deliveries"


def cancel(message_id: str) -> Call[models.Message]:
    return call("POST", f"/v1/messages/{part(message_id)}/cancel", models.Message)


def retry(message_id: str) -> Call[models.Message]:
    return call("POST", f"/v1/messages/{part(message_id)}/retry", models.Message)


def listing(path: str, kind: type[T], query: dict[str, Any]) -> Call[models.Page[T]]:
    return call("GET", path, models.Page[kind], query=query)


def webhook_create(url: str, types: list[str] | None, description: str) -> Call[models.WebhookEndpoint]:
    body = {"url": url, "types": types or [], "description": description}
    return call("POST", "/v1/webhooks", models.WebhookEndpoint, body=body)


def webhook(method: str, endpoint_id: str, body: Any = None) -> Call[models.WebhookEndpoint]:
    kind = None if method == "DELETE" else models.WebhookEndpoint
    return call(method, f"/v1/webhooks/{part(endpoint_id)}", kind, body=body)


def webhook_rotate(endpoint_id: str) -> Call[models.WebhookEndpoint]:
    return call("POST", f"/v1/webhooks/{part(endpoint_id)}/rotate", models.WebhookEndpoint, repeatable=False)


def webhook_replay(endpoint_id: str, since: str | dt.datetime) -> Call[models.Replay]:
    body = {"since": since}
    return call("POST", f"/v1/webhooks/{part(endpoint_id)}/replay", models.Replay, body=body, repeatable=False)


def delivery_replay(delivery_id: str) -> Call[models.Delivery]:
    return call("POST", f"/v1/webhooks/deliveries/{part(delivery_id)}/replay", models.Delivery, repeatable=False)


def key_create(body: dict[str, Any]) -> Call[models.Key]:
    return call("POST", "/v1/keys", models.Key, body={k: v for k, v in body.items() if v is not None})


def key_revoke(key_id: str) -> Call[None]:
    return call("DELETE", f"/v1/keys/{part(key_id)}")


def provider(method: str, name: str, verb: str = "") -> Call[models.Provider]:
    kind = None if method == "DELETE" else models.Provider
    return call(method, f"/v1/providers/{part(name)}{verb}", kind)


def provider_create(name: str, kind: str, config: dict[str, Any]) -> Call[models.Provider]:
    return call("POST", "/v1/providers", models.Provider, body={"name": name, "type": kind, "config": config})


def templates_path(name: str) -> str:
    return f"/v1/providers/{part(name)}/templates"


def media_upload(name: str, data: bytes, media_type: str) -> Call[models.Media]:
    # each call makes a file of its own: what may have worked is not done again
    body = {"media_type": media_type, "data": data}
    return call("POST", f"/v1/providers/{part(name)}/media", models.Media, body=body, repeatable=False)


def inbound_read(inbound_id: str) -> Call[None]:
    return call("POST", f"/v1/inbound/{part(inbound_id)}/read")


def route(method: str, name: str, body: dict[str, Any] | None = None) -> Call[models.Route]:
    kind = None if method == "DELETE" else models.Route
    return call(method, f"/v1/routes/{part(name)}", kind, body=body)


def route_create(body: dict[str, Any]) -> Call[models.Route]:
    return call("POST", "/v1/routes", models.Route, body=body)


def suppression_add(to: str, channel: str, reason: str) -> Call[models.Suppression]:
    return call("POST", "/v1/suppressions", models.Suppression, body={"to": to, "channel": channel, "reason": reason})


def suppression_lift(to: str, channel: str) -> Call[None]:
    return call("DELETE", "/v1/suppressions", query={"to": to, "channel": channel})


def project_create(name: str) -> Call[models.Project]:
    return call("POST", "/v1/projects", models.Project, body={"name": name})


def verification_start(request: dict[str, Any], idempotency_key: str | None) -> Call[models.Verification]:
    return call("POST", "/v1/verifications", models.Verification, body=request, idempotency_key=idempotency_key)


def verification_check(verification_id: str, code: str, idempotency_key: str | None) -> Call[models.Check]:
    path = f"/v1/verifications/{part(verification_id)}/check"
    return call("POST", path, models.Check, body={"code": code}, idempotency_key=idempotency_key)


def verification_resend(verification_id: str, channel: str | None) -> Call[models.Verification]:
    body = {} if channel is None else {"channel": channel}
    return call("POST", f"/v1/verifications/{part(verification_id)}/resend", models.Verification, body=body)


def verification_cancel(verification_id: str) -> Call[models.Verification]:
    return call("POST", f"/v1/verifications/{part(verification_id)}/cancel", models.Verification)


def verification(verification_id: str) -> Call[models.Verification]:
    return call("GET", f"/v1/verifications/{part(verification_id)}", models.Verification)


def verification_code(verification_id: str) -> Call[models.Code]:
    return call("GET", f"/v1/verifications/{part(verification_id)}/code", models.Code)


def verification_stats(since: Any, until: Any) -> Call[models.VerificationStats]:
    query = {"since": since, "until": until}
    return call("GET", "/v1/verifications/stats", models.VerificationStats, query=query)


def prefix_allow(prefix: str) -> Call[models.AllowedPrefix]:
    return call("POST", "/v1/verifications/prefixes", models.AllowedPrefix, body={"prefix": prefix})


def prefix_disallow(prefix: str) -> Call[None]:
    return call("DELETE", f"/v1/verifications/prefixes/{part(prefix)}")


def ready() -> Call[models.Health]:
    return call("GET", "/readyz", models.Health)
