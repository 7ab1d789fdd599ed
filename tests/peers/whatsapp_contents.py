"""WhatsApp contents of every kind, for whoever judges what we make of them: (name, content, text)."""

from __future__ import annotations

from typing import Any

_MEDIUM = {"link": "https://files.example.com/a.bin"}
_UPLOADED = {"id": "1003383421387256"}
_PLACE = {"latitude": 37.44221496582, "longitude": -122.1, "name": "Philz Coffee", "address": "101 Forest Ave"}
_ROWS = [{"id": "air", "title": "Air", "description": "Next day"}, {"id": "sea", "title": "Sea"}]
_MORE = [{"id": "x", "title": "X"}]
_BUTTONS = [{"id": "yes", "title": "Yes"}, {"id": "no", "title": "No"}, {"id": "later", "title": "Later 🙂"}]
_CARD = {
    "name": {"formatted_name": "Lucía Gómez", "first_name": "Lucía", "last_name": "Gómez"},
    "phones": [{"phone": "+1 (650) 555-1234", "type": "WORK", "wa_id": "16505551234"}],
    "emails": [{"email": "lucia@example.com", "type": "HOME"}],
    "urls": [{"url": "https://example.com", "type": "WORK"}],
    "addresses": [
        {"street": "1 Hacker Way", "city": "Menlo Park", "country_code": "us", "zip": "94025", "type": "HOME"}
    ],
    "org": {"company": "Example", "department": "Design", "title": "Manager"},
    "birthday": "1990-08-18",
}
_FILLED = [
    {"type": "header", "parameters": [{"type": "image", "image": _MEDIUM}]},
    {
        "type": "body",
        "parameters": [
            {"type": "text", "text": "Ann"},
            {"type": "currency", "currency": {"fallback_value": "$10", "code": "USD", "amount_1000": 10_000}},
            {"type": "date_time", "date_time": {"fallback_value": "Monday"}},
        ],
    },
    {"type": "button", "sub_type": "quick_reply", "index": 2, "parameters": [{"type": "payload", "payload": "yes"}]},
    {"type": "button", "sub_type": "url", "index": 3, "parameters": [{"type": "text", "text": "orders/7"}]},
]

GOOD: list[tuple[str, dict[str, Any] | None, str | None]] = [
    ("text", None, "Grüße 😀"),
    ("text as content", {"text": "see https://example.com", "preview_url": True}, None),
    ("text in answer", {"reply_to": "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBI3"}, "Yes"),
    ("image by link", {"image": {**_MEDIUM, "caption": "Taj Mahal"}}, None),
    ("image by id, text below", {"image": _UPLOADED}, "Taj Mahal"),
    ("video", {"video": {**_MEDIUM, "caption": "Film"}}, None),
    ("audio", {"audio": _UPLOADED}, None),
    ("document", {"document": {**_MEDIUM, "caption": "Bill", "filename": "bill 7.pdf"}}, None),
    ("sticker", {"sticker": _UPLOADED}, None),
    ("buttons", {"interactive": {"body": "Well?", "footer": "ACME", "buttons": _BUTTONS}}, None),
    ("buttons under a file", {"interactive": {"header": {"document": _MEDIUM}, "buttons": _BUTTONS[:1]}}, "Well?"),
    (
        "list",
        {
            "interactive": {
                "body": "How?", "header": {"text": "Shipping"},
                "list": {"button": "Choose", "sections": [{"title": "A", "rows": _ROWS}, {"title": "B", "rows": _MORE}]},
            }
        },
        None,
    ),
    ("template", {"template": {"name": "hello_world", "language": "en_US"}}, None),
    ("template, filled", {"template": {"name": "order_2", "language": "pt_BR", "components": _FILLED}}, None),
    ("location", {"location": _PLACE}, None),
    ("location, bare", {"location": {"latitude": 0.00000004, "longitude": 180}}, None),
    ("contacts", {"contacts": [_CARD, {"name": {"formatted_name": "Bo"}}]}, None),
    ("reaction", {"reaction": {"message_id": "wamid.X", "emoji": "👍🏽"}}, None),
    ("reaction, taken back", {"reaction": {"message_id": "wamid.X", "emoji": ""}}, None),
]  # fmt: skip
