"""What Twilio tells of WhatsApp beside what it tells of SMS: people's names, files, places, buttons and reads.

Source: Twilio "Twilio's request to your incoming message webhook URL" (WhatsApp-specific parameters)
"""

from typing import Any, Final

import msgspec

from tidings.channels.sms import twilio_errors
from tidings.domain.attempt import CarrierReceipt, InboundPart
from tidings.domain.inbound import Button, InboundContent, InboundFile, Location

PREFIX: Final = "whatsapp:"
_FILES: Final = 10


def receipt(item: CarrierReceipt) -> CarrierReceipt:
    """The same with plain numbers, and what a reader did."""
    text = item.error_code or ""
    code = int(text) if text.isascii() and text.isdigit() else None
    failed = item.state == "undelivered" and code is not None
    return msgspec.structs.replace(
        item,
        to=number(item.to) if item.to else None,
        sender=None,  # a message without `from` went out by the provider's own
        error=twilio_errors.error_of(code, item.carrier_state) if failed else None,
        engagement="read" if item.carrier_state == "read" else None,
        suppress="unsubscribed" if failed and code == 63050 else None,
    )


def number(address: str) -> str:
    """Without `whatsapp:`."""
    return address.removeprefix(PREFIX)


def inbound(part: InboundPart, fields: dict[str, str]) -> InboundPart:
    """The same as a WhatsApp message with everything in it."""
    answered = fields.get("OriginalRepliedMessageSid", "")[:64]
    base: dict[str, Any] = {"kind": fields.get("MessageType", "")[:32] or None, "ref": part.dedup}
    base["profile_name"] = fields.get("ProfileName", "")[:256] or None
    base["attachments"] = _files(fields)
    base["location"] = _location(fields)
    base["button"] = _button(fields)
    return msgspec.structs.replace(
        part, channel="whatsapp", sender=number(part.sender), to=number(part.to), content=InboundContent(**base),
        answers=(answered,) if answered else (),
    )  # fmt: skip


def _files(fields: dict[str, str]) -> tuple[InboundFile, ...]:
    count = fields.get("NumMedia", "0")
    found = range(min(int(count), _FILES) if count.isascii() and count.isdigit() and len(count) < 4 else 0)
    return tuple(
        InboundFile(
            media_type=fields.get(f"MediaContentType{n}", "application/octet-stream")[:128],
            ref=fields.get(f"MediaUrl{n}", "")[:2_048] or None,
        )
        for n in found
    )


def _location(fields: dict[str, str]) -> Location | None:
    try:
        latitude, longitude = float(fields["Latitude"]), float(fields["Longitude"])
    except (KeyError, ValueError):
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    name, address = fields.get("Label") or None, fields.get("Address") or None
    return Location(latitude=latitude, longitude=longitude, name=name, address=address)


def _button(fields: dict[str, str]) -> Button | None:
    chosen = fields.get("ListId")
    if chosen:
        return Button(id=chosen[:256], title=fields.get("ListTitle") or None)
    pressed = fields.get("ButtonPayload") or fields.get("ButtonText")
    return Button(id=pressed[:256], title=fields.get("ButtonText") or None) if pressed else None
