"""What the demo sends, and what must have happened to each message in the end."""

from typing import Any

import msgspec


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the demo."""

    title: str
    request: dict[str, Any]
    events: tuple[str, ...]  # of its timeline, in any order
    parts: int
    answer: str | None = None  # what the person writes back


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
)
