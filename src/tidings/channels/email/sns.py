"""Calls of Amazon SNS: signed with a certificate of Amazon's, which is fetched once from Amazon's own host.

A call whose certificate is not here yet is answered with 503: SNS calls again, and the certificate is fetched meanwhile.
Source: Amazon SNS "Verifying the signatures of Amazon SNS messages"; "HTTP/HTTPS subscription confirmation JSON format"
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, Final, Literal, cast

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tidings.channels.callback import CallbackReply, Called, NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.email.over_http import text
from tidings.channels.http.json import json_of

_CERTIFICATE: Final = re.compile(
    r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem"
)
_CONFIRM: Final = re.compile(
    r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(?:\.cn)?/\?Action=ConfirmSubscription&[!-~]{1,2000}"
)
_CERTIFICATES: Final = 8
_SIGNED: Final[dict[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}  # fmt: skip
_LATER: Final = Taken(reply=CallbackReply(status=503, body=b"come again"))
_DONE: Final = Taken(reply=CallbackReply(status=200))


class Envelope(msgspec.Struct, frozen=True):
    """A genuine call: `message` is what was published."""

    kind: str
    message: str


class Ask(msgspec.Struct, frozen=True):
    """A GET that the desk wants made."""

    kind: Literal["certificate", "confirmation"]
    url: str


class SnsDesk:
    """`topic`: the only one that is listened to; empty: none."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._keys: dict[str, RSAPublicKey] = {}
        self._asked: set[str] = set()

    def take(self, request: RawRequest, read: Callable[[Envelope], Called]) -> tuple[Called, Ask | None]:
        """What the call says, by `read`; and what must be fetched first, if anything. Never raises."""
        found = json_of(request.body)
        fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        kind, url = text(fields, "Type"), text(fields, "SigningCertURL")
        if kind not in _SIGNED or not self._topic or text(fields, "TopicArn") != self._topic:
            return NotGenuine("no call of SNS for `topic_arn`"), None
        if not _CERTIFICATE.fullmatch(url):
            return NotGenuine("the certificate is not at Amazon's host"), None
        if url not in self._keys:
            return _LATER, self._once(Ask("certificate", url))
        if not self._genuine(fields, kind, self._keys[url]):
            return NotGenuine("the signature does not fit the message"), None
        if kind == "Notification":
            return read(Envelope(kind, text(fields, "Message"))), None
        confirm = text(fields, "SubscribeURL")
        if kind == "SubscriptionConfirmation" and _CONFIRM.fullmatch(confirm):
            return _DONE, self._once(Ask("confirmation", confirm))
        return (_DONE, None) if kind == "UnsubscribeConfirmation" else (Unreadable("no SubscribeURL of Amazon's"), None)

    def answered(self, ask: Ask, body: bytes) -> None:
        """What the GET brought."""
        self._asked.discard(ask.url)
        if ask.kind != "certificate":
            return
        try:
            key = x509.load_pem_x509_certificate(body).public_key()
        except ValueError:
            return
        if isinstance(key, RSAPublicKey):
            if len(self._keys) >= _CERTIFICATES:
                self._keys.pop(next(iter(self._keys)))
            self._keys[ask.url] = key

    def failed(self, ask: Ask) -> None:
        """It may be asked for again."""
        self._asked.discard(ask.url)

    def _once(self, ask: Ask) -> Ask | None:
        """None while it is under way, or too much is."""
        if ask.url in self._asked or len(self._asked) >= _CERTIFICATES:
            return None
        self._asked.add(ask.url)
        return ask

    @staticmethod
    def _genuine(fields: dict[str, Any], kind: str, key: RSAPublicKey) -> bool:
        signed = "".join(f"{name}\n{text(fields, name)}\n" for name in _SIGNED[kind] if name in fields)
        hash_ = {"1": hashes.SHA1(), "2": hashes.SHA256()}.get(text(fields, "SignatureVersion"))
        try:
            given = base64.b64decode(text(fields, "Signature"), validate=True)
            if hash_ is None or not given:
                return False
            key.verify(given, signed.encode(), PKCS1v15(), hash_)
        except (InvalidSignature, ValueError, binascii.Error):
            return False
        return True
