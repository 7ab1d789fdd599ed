"""The keys of a provider of type `<channel>.http`. What they mean together is compiled, and refused, in `compile`."""

from typing import Any, Literal

import msgspec

from tidings.channels.http.call import Limits

Meaning = Literal["retryable", "throttled", "account", "unknown"]
#: What a word of the carrier's means. `pending` moves nothing. `bounced`, `complained` and `unsubscribed` suppress the
#: address, too.
State = Literal[
    "delivered", "read", "undelivered", "expired", "rejected", "deleted", "failed", "pending",
    "clicked", "bounced", "complained", "unsubscribed",
]  # fmt: skip


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration."""


class Request(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request for one part. One of `form`, `json`, `xml`, `text`, or none of them."""

    url: str
    method: Literal["GET", "POST", "PUT"] = "POST"
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    form: dict[str, str] | None = None
    json: dict[str, Any] | list[Any] | None = None
    xml: str | None = None
    text: str | None = None
    text_type: str = "text/plain; charset=utf-8"
    valid_least_s: int = 1  # what the carrier takes as validity at least and at most
    valid_most_s: int = 31_536_000


class Auth(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who we are. `header` and `query` send `value` under `name`; `hmac` sends it with a `{signature}` of `signed`."""

    kind: Literal["none", "basic", "bearer", "header", "query", "hmac"] = "none"
    name: str = ""
    value: str = ""
    signed: str = ""
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    digest: Literal["hex", "base64"] = "hex"


class Response(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a part was taken, and as what. `success` and `error` are picks."""

    ok_status: tuple[str, ...] = ("2xx",)
    success: str = ""
    success_values: tuple[str, ...] = ()
    id: str = ""
    error: str = ""


class Codes(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the carrier's error codes mean; `http:503` names a status. Others mean what `other` says."""

    retryable: tuple[str, ...] = ()
    throttled: tuple[str, ...] = ()
    permanent: dict[str, str] = {}
    account: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    other: Literal["retryable", "permanent", "unknown"] = "retryable"


class Verify(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How we know that the carrier calls. `networks` holds beside each kind."""

    kind: Literal["hmac", "secret", "basic", "address"]
    at: str = ""  # hmac, secret: the pick of what was sent
    prefix: str = ""  # before the signature, for example sha256=
    signed: str = "{body}"
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    digest: Literal["hex", "base64"] = "hex"
    timestamp: str = ""  # pick of the time that is signed too
    timestamp_unit: Literal["s", "ms"] = "s"
    tolerance_s: float = 300
    networks: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()


class Receipts(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a receipt stands in a callback."""

    id: str
    status: str
    states: dict[str, State]
    each: str | None = None
    error: str = ""
    to: str = ""
    sender: str = ""
    ref: str = ""


class Inbound(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a person's message stands in a callback."""

    sender: str
    to: str
    text: str
    id: str
    each: str | None = None
    concat_ref: str = ""
    concat_total: str = ""
    concat_part: str = ""


class Callbacks(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the carrier calls us with, and what it is answered."""

    verify: Verify
    receipts: Receipts | None = None
    inbound: Inbound | None = None
    reply_status: int = 200
    reply_body: str = ""
    reply_type: str = "text/plain"


class Encoding(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How texts are encoded and cut. `words`: what `{encoding}` says for gsm and ucs2."""

    alphabet: Literal["auto", "gsm", "ucs2"] = "auto"
    segments: Literal["carrier", "us"] = "carrier"
    most_chars: int = 1_600
    smart: bool = False
    words: dict[Literal["gsm", "ucs2"], str] = {}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A carrier that is described, not programmed. Secrets stand at the top; the tables name them by placeholder."""

    request: Request
    auth: Auth = Auth()
    response: Response = Response()
    codes: Codes = Codes()
    callbacks: Callbacks | None = None
    encoding: Encoding = Encoding()
    sender: str = ""  # for messages without `from`
    username: str = ""
    password: str = ""
    token: str = ""
    secret: str = ""
    callback_username: str = ""
    callback_password: str = ""
    callback_secret: str = ""
    public_url: str = ""
    insecure_http: bool = False
    window: int = 20
    rate_per_s: float = 0
    response_timeout_s: float = 10
    connect_timeout_s: float = 5
    reconnect_min_s: float = 0.2
    reconnect_max_s: float = 30
    requeue_s: float = 5
    allow_networks: tuple[str, ...] = ()

    @property
    def limits(self) -> Limits:
        """What the engine keeps."""
        return Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})
