"""What the demo sends, and what must have happened to each message in the end."""

from typing import Any

import msgspec

from tidings.demo.carriers import FIRST, SECOND


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the demo."""

    title: str
    request: dict[str, Any]
    events: tuple[str, ...]  # of its timeline, in any order
    parts: int
    answer: str | None = None  # what the person writes back
    live: bool = False  # with the live key, over the demo's own carriers
    attempts: tuple[tuple[str, str], ...] | None = None  # (provider, status), in their order


SCENES = (
    Scene(
        title="Order confirmation",
        request={
            "to": "+15005550007",
            "from": "ACME",
            "text": "Hi {{ customer.name }}, order {{ order.id }} has shipped. Reply YES for tracking.",
            "data": {"customer": {"name": "Ada"}, "order": {"id": 1001}},
            "reference": "order-1001",
        },
        events=("message.accepted", "message.sent", "message.delivered", "message.replied"),
        parts=1,
        answer="YES",
    ),
    Scene(
        title="One-time code",
        request={
            "to": "+15005550001",
            "from": "ACME",
            "text": "482913 is your code. Do not share it.",
            "class": "otp",
            "valid_for_s": 60,
            "reference": "login-7",
        },
        events=("message.accepted", "message.sent", "message.delivered"),
        parts=1,
    ),
    Scene(
        title="Emoji, two parts",
        request={
            "to": "+15005550006",
            "from": "ACME",
            "text": "Your parcel is on its way! " + "🎉📦🚚" * 10,
            "reference": "parcel-1001",
        },
        events=("message.accepted", "message.sent", "message.delivered", "message.read"),
        parts=2,
    ),
    Scene(
        title="Email, answered",
        request={
            "to": "replies@sandbox.test",
            "text": "Hi {{ name }}, your invoice is attached. Shall we call you?",
            "content": {
                "subject": "Invoice {{ id }}",
                "mjml": "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ name }}, your invoice is attached."
                "</mj-text></mj-column></mj-section></mj-body></mjml>",
                "attachments": [{"name": "invoice.txt", "media_type": "text/plain", "data": "MTAwMTogNDIgRVVSCg=="}],
            },
            "data": {"name": "Ada", "id": 1001},
        },
        events=("message.accepted", "message.sent", "message.delivered", "message.replied"),
        parts=1,
        answer="YES",
    ),
    Scene(
        title="WhatsApp, read",
        request={"to": "+15005550006", "channel": "whatsapp", "text": "Your table is ready."},
        events=("message.accepted", "message.sent", "message.delivered", "message.read"),
        parts=1,
    ),
    Scene(
        title="Push",
        request={
            "to": {"push": ["sandbox-delivered"]},
            "content": {"title": "ACME", "body": "The courier is around the corner."},
        },
        events=("message.accepted", "message.sent", "message.delivered"),
        parts=1,
    ),
    Scene(
        title="Fallback: push, then SMS",
        request={
            "to": {"push": ["sandbox-unregistered"], "phone": "+15005550001"},
            "channels": ["push", "sms"],
            "fallback": {"on": ["failed"]},
            "text": "The courier is at your door.",
        },
        events=("message.accepted", "message.fallback", "message.sent", "message.delivered"),
        parts=1,
    ),
    Scene(
        title="Failover: two carriers",
        request={"to": "+15005550001", "text": "Your order has arrived."},
        events=("message.accepted", "message.sent", "message.delivered"),
        parts=1,
        live=True,
        attempts=((FIRST, "refused"), (SECOND, "delivered")),
    ),
)
