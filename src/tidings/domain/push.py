"""The channel push as `domain.channel` knows it: what its addresses, senders and contents must be.

A device's address is what its service gave the app:

- a token of FCM or of APNs. Both are opaque to us; which service it belongs to is the route's choice;
- a Web Push subscription, as `JSON.stringify(subscription)` gives it: `{"endpoint": …, "keys": {"p256dh": …, "auth": …}}`.
"""

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from tidings.domain.errors import FieldError

if TYPE_CHECKING:
    from tidings.protocols.webpush.message import Keys

LIQUID: Final = frozenset({"title", "body", "image", "data", "click_action"})
HTML: Final = frozenset[str]()

TOKEN_CHARS: Final = 4_096
#: FCM and APNs take 4,096 octets in all; what is around the content needs some of them. The provider knows exactly.
CONTENT_OCTETS: Final = 4_096
TTL_MOST_S: Final = 28 * 86_400  # FCM's longest
COLLAPSE_KEY_CHARS: Final = 64  # APNs: apns-collapse-id, a header
DATA_KEYS: Final = 64
BADGE_MOST: Final = 999_999
LINK_CHARS: Final = 2_048
SOUND_CHARS: Final = 100
#: The acknowledgement's key among `data`; see docs/channels/push.md.
ACK_KEY: Final = "tidings_ack"
_RESERVED: Final = frozenset({"from", "message_type", "aps", ACK_KEY})
_RESERVED_BEGIN: Final = ("google.", "google_", "gcm.")


class PushContent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A notification; without `title` and `body` it wakes the app and shows nothing.

    `click_action`: an https link, or the name of an action of the app. `priority` normal waits for the device to wake.
    """

    title: str | None = None
    body: str | None = None
    image: str | None = None
    data: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    collapse_key: str | None = None
    ttl_s: int | None = None
    priority: Literal["high", "normal"] = "high"
    badge: int | None = None
    sound: str | None = None
    click_action: str | None = None

    @property
    def shown(self) -> bool:
        """Whether the person sees something."""
        return self.title is not None or self.body is not None

    @property
    def link(self) -> str | None:
        """`click_action`, if it is a link."""
        return self.click_action if self.click_action and self.click_action.startswith("https://") else None

    @property
    def action(self) -> str | None:
        """`click_action`, if it is an action of the app."""
        return None if self.link else self.click_action

    def lives_s(self, valid_until_ms: int | None, now_ms: int) -> int | None:
        """For how long the service may try, from now; None: as long as it likes."""
        left = [] if valid_until_ms is None else [max(0, (valid_until_ms - now_ms) // 1_000)]
        left += [] if self.ttl_s is None else [self.ttl_s]
        return min([*left, TTL_MOST_S]) if left else None


class Subscription(msgspec.Struct, frozen=True):
    """A Web Push subscription: where to push, and the keys that only this browser has."""

    endpoint: str
    keys: "Keys"


class _KeyTexts(msgspec.Struct, frozen=True):
    p256dh: str
    auth: str


class _SubscriptionText(msgspec.Struct, frozen=True):
    """`PushSubscription.toJSON()`. Source: W3C Push API §8, PushSubscriptionJSON"""

    endpoint: str
    keys: _KeyTexts


def is_subscription(token: str) -> bool:
    """Whether a token claims to be a Web Push subscription."""
    return token.startswith("{")


class _Endpoint(msgspec.Struct, frozen=True):
    endpoint: str


def endpoint_of(token: str) -> str | None:
    """The endpoint of a subscription, however its JSON is written and whatever its keys; None if there is none."""
    try:
        return msgspec.json.decode(token, type=_Endpoint).endpoint
    except (msgspec.DecodeError, RecursionError):
        return None


def read_subscription(token: str) -> Subscription:
    """The subscription in a token. Raises ValueError that says what is wrong with it."""
    # here: the database's writer knows the channels too, and would load 7 MB of cryptography for them
    from tidings.protocols.jwt import un_b64url
    from tidings.protocols.webpush.message import Keys

    try:
        found = msgspec.json.decode(token, type=_SubscriptionText)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"is no Web Push subscription: {_plain(error)}") from None
    if not _is_url(found.endpoint):
        raise ValueError("is no Web Push subscription: endpoint must be a URL that begins with https://")
    try:
        keys = Keys(un_b64url(found.keys.p256dh), un_b64url(found.keys.auth))
    except ValueError as error:
        raise ValueError(f"is no Web Push subscription: keys: {error}") from None
    return Subscription(found.endpoint, keys)


def _is_url(text: str) -> bool:
    """http is for services on this machine; the provider allows it only where the operator has opened such networks."""
    try:
        parts = urlsplit(text)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    good = good and text.isascii() and text.isprintable() and " " not in text
    return good and parts.scheme in ("https", "http") and parts.username is None and not parts.fragment


def address_problem(text: str) -> str | None:
    """What is wrong with a device's token; None if it is good."""
    if not (0 < len(text) <= TOKEN_CHARS and text.isascii() and text.isprintable()):
        return f"must be a device token or a Web Push subscription: 1 to {TOKEN_CHARS} printable ASCII characters"
    if not is_subscription(text):
        return "must be a device token, which has no spaces" if " " in text else None
    try:
        read_subscription(text)
    except ValueError as error:
        return str(error)
    return None


def sender_problem(text: str) -> str | None:
    """A notification comes from the app."""
    return "a push message has no `from`: it comes from the app that the token belongs to"


def read(content: dict[str, Any] | None, text: str | None) -> PushContent:
    """The typed content, with the request's text where it has none. Raises `msgspec.ValidationError`."""
    found = msgspec.convert(content or {}, PushContent)
    return found if found.body is not None or text is None else msgspec.structs.replace(found, body=text)


def problems(content: dict[str, Any] | None, text: str | None) -> list[FieldError]:
    """Every bad field of a request's content; pointers below `/content` and `/text`."""
    try:
        found = read(content, text)
    except msgspec.ValidationError as error:
        return [FieldError(pointer="/content", code="invalid", detail=_plain(error))]
    if not (found.title or found.body or found.data):
        detail = "a push message needs `text`, or content.title, .body or .data"
        return [FieldError(pointer="/text", code="required", detail=detail)]
    return [*_number_problems(found), *_word_problems(found), *_data_problems(found.data), *_size_problems(found)]


def _number_problems(found: PushContent) -> list[FieldError]:
    ranges = (("ttl_s", found.ttl_s, TTL_MOST_S), ("badge", found.badge, BADGE_MOST))
    return [
        _bad(name, "range", f"must be 0 to {most}")
        for name, value, most in ranges
        if value is not None and not 0 <= value <= most
    ]


def _word_problems(found: PushContent) -> list[FieldError]:
    out: list[FieldError] = []
    key = found.collapse_key
    if key is not None and not (0 < len(key) <= COLLAPSE_KEY_CHARS and key.isascii() and key.isprintable()):
        out.append(_bad("collapse_key", "length", f"must be 1 to {COLLAPSE_KEY_CHARS} printable ASCII characters"))
    if found.sound is not None and not 0 < len(found.sound) <= SOUND_CHARS:
        out.append(_bad("sound", "length", f"must have 1 to {SOUND_CHARS} characters"))
    for name, value in (("image", found.image), ("click_action", found.click_action)):
        if value is not None and not 0 < len(value) <= LINK_CHARS:
            out.append(_bad(name, "length", f"must have 1 to {LINK_CHARS} characters"))
    if found.image and not found.image.startswith(("https://", "{{", "{%")):
        out.append(_bad("image", "invalid", "must be a URL that begins with https://"))
    return out


def _data_problems(data: dict[str, str]) -> list[FieldError]:
    if len(data) > DATA_KEYS:
        return [_bad("data", "length", f"must have at most {DATA_KEYS} keys")]
    return [
        _bad(
            f"data/{name.replace('~', '~0').replace('/', '~1')}", "reserved", f"{name!r} is taken by the push services"
        )
        for name in data
        if not name or name in _RESERVED or name.startswith(_RESERVED_BEGIN)
    ]


def _size_problems(found: PushContent) -> list[FieldError]:
    size = len(msgspec.json.encode(found))
    if size <= CONTENT_OCTETS:
        return []
    return [_bad("", "length", f"a push message has at most {CONTENT_OCTETS} octets, not {size}")]


def _bad(name: str, code: str, detail: str) -> FieldError:
    return FieldError(pointer=f"/content/{name}" if name else "/content", code=code, detail=detail)


def _plain(error: Exception) -> str:
    """msgspec's words, with the field in place of `$.field`."""
    return str(error).replace("`$.", "`").replace(" - at `$`", "")
