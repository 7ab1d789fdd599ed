"""What a person can send to us beside plain words. Kept sealed with the message."""

from typing import Any

import msgspec


class InboundFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An attachment or medium. `data` is base64; absent where it was too large or could not be fetched: `ref` names it then."""

    media_type: str
    name: str | None = None
    data: str | None = None
    size: int | None = None  # octets
    content_id: str | None = None  # of an inline part
    ref: str | None = None  # the carrier's own id of it


class Reaction(msgspec.Struct, frozen=True, kw_only=True):
    """An emoji set on a message of ours (`ref`, the carrier's id); an empty one takes it back."""

    emoji: str
    ref: str


class Location(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place, in degrees."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


class Button(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A button or a row of a list that the person chose: its id as we sent it, and what it says."""

    id: str
    title: str | None = None


class InboundContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands beside `text`. `full_text`: with the quoted text that `text` was freed of.

    `kind`: the carrier's word for what this is, where it is no plain text; `ref`: its id of the message, to answer it by,
    react to it or mark it as read; `contacts`, `order`: cards and orders as the carrier has them.
    """

    subject: str | None = None
    html: str | None = None
    full_text: str | None = None
    attachments: tuple[InboundFile, ...] = ()
    reaction: Reaction | None = None
    location: Location | None = None
    button: Button | None = None
    profile_name: str | None = None
    headers: dict[str, str] | None = None
    kind: str | None = None
    ref: str | None = None
    contacts: tuple[dict[str, Any], ...] = ()
    order: dict[str, Any] | None = None
