"""What a WhatsApp message can say: the `content` of a request whose channel is `whatsapp`.

At most one kind (`image`, `interactive`, `template` …); without one the message is its `text`, which is that of the
request if the content has none. The same text is the caption of a file and the body of an interactive message that name
none themselves. The shapes are Meta's own with what repeats itself left out.
Source: WhatsApp Cloud API v23.0, schema `Message`
"""

from typing import Final, Literal

import msgspec

from tidings.domain.whatsapp_template import Template

#: Kinds that are a file, and those of them that take a caption.
MEDIA: Final = ("image", "video", "audio", "document", "sticker")
CAPTIONED: Final = ("image", "video", "document")
KINDS: Final = (*MEDIA, "interactive", "template", "location", "contacts", "reaction")
#: Kinds with a place for a text.
WORDED: Final = ("text", *CAPTIONED, "interactive")


class _Noun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a content."""


class Media(_Noun, frozen=True, kw_only=True):
    """A file: `link` (Meta fetches it) or `id` (uploaded before). A `filename` only documents have."""

    link: str | None = None
    id: str | None = None
    caption: str | None = None
    filename: str | None = None


class Button(_Noun, frozen=True, kw_only=True):
    """A reply button; `id` comes back when it is pressed."""

    id: str
    title: str


class Row(_Noun, frozen=True, kw_only=True):
    """One choice of a list; `id` comes back when it is taken."""

    id: str
    title: str
    description: str | None = None


class Section(_Noun, frozen=True, kw_only=True):
    """Choices under a title."""

    rows: tuple[Row, ...]
    title: str | None = None


class Choices(_Noun, frozen=True, kw_only=True):
    """A list that opens behind `button`."""

    button: str
    sections: tuple[Section, ...]


class Header(_Noun, frozen=True, kw_only=True):
    """What stands above the body: a text or one file."""

    text: str | None = None
    image: Media | None = None
    video: Media | None = None
    document: Media | None = None


class Interactive(_Noun, frozen=True, kw_only=True):
    """A body with `buttons` or a `list` below. `body` is the request's `text` if it is not given."""

    body: str | None = None
    header: Header | None = None
    footer: str | None = None
    buttons: tuple[Button, ...] = ()
    list: Choices | None = None


class Location(_Noun, frozen=True, kw_only=True):
    """A place. Degrees, WGS 84."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


Place = Literal["HOME", "WORK"]


class Name(_Noun, frozen=True, kw_only=True):
    """Of a contact."""

    formatted_name: str
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    prefix: str | None = None
    suffix: str | None = None


class Phone(_Noun, frozen=True, kw_only=True):
    """Of a contact. With `wa_id` the phone offers to write to it."""

    phone: str
    type: Place | None = None
    wa_id: str | None = None


class Email(_Noun, frozen=True, kw_only=True):
    """Of a contact."""

    email: str
    type: Place | None = None


class Url(_Noun, frozen=True, kw_only=True):
    """Of a contact."""

    url: str
    type: Place | None = None


class Address(_Noun, frozen=True, kw_only=True):
    """Of a contact. `country_code`: ISO 3166-1, two letters."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    country_code: str | None = None
    type: Place | None = None


class Org(_Noun, frozen=True, kw_only=True):
    """Where a contact works."""

    company: str | None = None
    department: str | None = None
    title: str | None = None


class Contact(_Noun, frozen=True, kw_only=True):
    """A card for the address book. `birthday`: YYYY-MM-DD."""

    name: Name
    phones: tuple[Phone, ...] = ()
    emails: tuple[Email, ...] = ()
    urls: tuple[Url, ...] = ()
    addresses: tuple[Address, ...] = ()
    org: Org | None = None
    birthday: str | None = None


class Reaction(_Noun, frozen=True, kw_only=True):
    """One emoji on a message of either side, by its WhatsApp id; an empty one takes the reaction back."""

    message_id: str
    emoji: str


class WhatsAppContent(_Noun, frozen=True, kw_only=True):
    """See the module. `reply_to`: the WhatsApp id (`wamid.…`) of the message that this one quotes."""

    text: str | None = None
    preview_url: bool = False
    image: Media | None = None
    video: Media | None = None
    audio: Media | None = None
    document: Media | None = None
    sticker: Media | None = None
    interactive: Interactive | None = None
    template: Template | None = None
    location: Location | None = None
    contacts: tuple[Contact, ...] = ()
    reaction: Reaction | None = None
    reply_to: str | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those that are given; a good content has one at most."""
        return tuple(kind for kind in KINDS if getattr(self, kind))

    @property
    def kind(self) -> str:
        """The one that is given, else `text`."""
        return self.kinds[0] if self.kinds else "text"

    @property
    def needs_window(self) -> bool:
        """Whether it may only be sent within 24 hours of the person's last word: everything but a template."""
        return self.template is None
