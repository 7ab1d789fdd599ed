"""What the simulated Cloud API answers, and what it calls back with. Pure: the server around it is `sandbox/whatsapp.py`.

Source: WhatsApp Cloud API v23.0, schemas `Message`, `MessageResponsePayload`, `ErrorResponse`, `WebhookPayload`
"""

import hmac
import json
from typing import Any, Final

import msgspec

NUMBER_ID, NUMBER, ACCOUNT_ID = "106540352242922", "+15005550000", "419561257915477"
TEMPLATES: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("hello_world", "en_US"): ("APPROVED", "Welcome and congratulations!!"),
    ("order_update", "en_US"): ("APPROVED", "Hi {{1}}, your order {{2}} is on its way."),
    ("verification_code", "en_US"): ("APPROVED", "{{1}} is your code."),
    ("seasonal_offer", "en_US"): ("REJECTED", "Our offer for {{1}}."),
    ("spring_news", "en_US"): ("PENDING", "News for {{1}}."),
    ("old_news", "en_US"): ("PAUSED", "News for {{1}}."),
}
#: Meta's code → title, as it writes them.
_TITLES: Final = {
    100: "Invalid parameter", 190: "Invalid OAuth access token.", 33: "Unsupported post request.",
    131000: "Something went wrong", 131008: "Required parameter is missing", 131026: "Message undeliverable",
    131047: "Re-engagement message", 132000: "Number of parameters does not match the expected number of params",
    132001: "Template name does not exist in the translation", 132015: "Template is paused",
}  # fmt: skip
_HTTP: Final = {190: 401, 131000: 500, 33: 404}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A body that is worth an answer; the part named by `type` is kept as it is."""

    messaging_product: str
    to: str
    type: str
    body: dict[str, Any]

    @property
    def callback_data(self) -> dict[str, Any]:
        """What comes back with every status."""
        own = self.body.get("biz_opaque_callback_data")
        return {} if own is None else {"biz_opaque_callback_data": own}


def read(body: bytes) -> Message | None:
    """The message; None for a body that is none."""
    try:
        found: Any = json.loads(body)
        texts = [str(found[name]) for name in ("messaging_product", "to", "type")]
    except (ValueError, TypeError, KeyError):
        return None
    made = Message(messaging_product=texts[0], to=texts[1], type=texts[2], body=found)
    return made if made.messaging_product == "whatsapp" and made.type in found else None


def read_mark_of(body: bytes) -> str | None:
    """The message that a body marks as read; None for any other body."""
    try:
        found: Any = json.loads(body)
        good = found["messaging_product"] == "whatsapp" and found["status"] == "read"
        return str(found["message_id"]) if good else None
    except (ValueError, TypeError, KeyError):
        return None


def without_reference(body: bytes) -> bytes:
    """The message without what differs from one try to the next."""
    found: dict[str, Any] = json.loads(body)
    found.pop("biz_opaque_callback_data", None)
    return json.dumps(found, sort_keys=True).encode()


def error(code: int, details: str = "") -> tuple[int, dict[str, Any]]:
    """Status and body of an error."""
    fields: dict[str, Any] = {"message": f"(#{code}) {_TITLES[code]}", "type": "OAuthException", "code": code}
    fields["error_data"] = {"messaging_product": "whatsapp", "details": details}
    return _HTTP.get(code, 400), {"error": {**fields, "fbtrace_id": "sandbox"}}


def template_error(template: Any) -> tuple[int, str] | None:
    """Why a template is not sent: Meta's code and details."""
    name, language = str(template["name"]), str(template["language"]["code"])
    known = TEMPLATES.get((name, language))
    if known is None or known[0] in ("REJECTED", "PENDING"):
        return 132001, f"template name ({name}) does not exist in {language}"
    if known[0] == "PAUSED":
        return 132015, "Template is paused due to low quality"
    bodies: list[Any] = [part for part in template.get("components", ()) if part["type"] == "body"]
    given, wanted = sum(len(body.get("parameters", ())) for body in bodies), known[1].count("{{")
    if given != wanted:
        return (
            132000,
            f"body: number of localizable_params ({given}) does not match the expected number of params ({wanted})",
        )
    return None


def templates() -> dict[str, Any]:
    """The one page of `GET /{account}/message_templates`."""
    data = [
        {
            "name": name, "language": language, "status": status, "category": "UTILITY", "id": str(n + 1),
            "components": [{"type": "BODY", "text": text}],
        }
        for n, ((name, language), (status, text)) in enumerate(TEMPLATES.items())
    ]  # fmt: skip
    return {"data": data, "paging": {"cursors": {"before": "MAZDZD", "after": "MjQZD"}}}


def taken(to: str, ref: str) -> dict[str, Any]:
    """The answer to a message that was taken."""
    contact = {"input": to, "wa_id": to.lstrip("+")}
    return {
        "messaging_product": "whatsapp",
        "contacts": [contact],
        "messages": [{"id": ref, "message_status": "accepted"}],
    }


def status(ref: str, word: str, to: str, now_ms: int, **more: Any) -> dict[str, Any]:
    """A status, as the value of a change."""
    base = {"id": ref, "status": word, "timestamp": str(now_ms // 1_000), "recipient_id": to.lstrip("+")}
    return {"statuses": [{**base, **more}]}


def failure(code: int) -> dict[str, Any]:
    """What a status `failed` has more."""
    return {
        "errors": [
            {"code": code, "title": _TITLES[code], "message": _TITLES[code], "error_data": {"details": _TITLES[code]}}
        ]
    }


def said(ref: str, wa_id: str, now_ms: int, kind: str, part: Any, **more: Any) -> dict[str, Any]:
    """A message from a person, as the value of a change."""
    base = {"from": wa_id, "id": ref, "timestamp": str(now_ms // 1_000), "type": kind, kind: part}
    return {"contacts": [{"profile": {"name": "Sandbox"}, "wa_id": wa_id}], "messages": [{**base, **more}]}


def call(value: dict[str, Any]) -> bytes:
    """The body of a call."""
    metadata = {"display_phone_number": NUMBER.lstrip("+"), "phone_number_id": NUMBER_ID}
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    entry = {"id": ACCOUNT_ID, "changes": [change]}
    return msgspec.json.encode({"object": "whatsapp_business_account", "entry": [entry]})


def signature(body: bytes, secret: str) -> str:
    """X-Hub-Signature-256."""
    return "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
