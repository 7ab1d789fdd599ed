"""What apps tell of push messages: that the device has one, that the person opened it.

Push services do not say whether a device got anything, so each message carries a token, and the app gives it back with an
event. The token is `project.attempt.signature.part`: it needs no API key, tells nothing, and is good for this attempt only. The
part is the provider's to add (`channels.push.parts.data_of`); whoever changes it changes which of the person's own
devices is meant.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import msgspec

from tidings.domain.address import address_key
from tidings.domain.attempt import CarrierReceipt, Engagement, InboundPart
from tidings.domain.content import Content
from tidings.domain.errors import Forbidden, NotFound, Overloaded
from tidings.domain.push import ACK_KEY, PushContent
from tidings.kit.secrets import KeyRing
from tidings.protocols.jwt import b64url
from tidings.store.acks import AckedAttempt
from tidings.store.store import Store

AckEvent = Literal["delivered", "opened", "clicked"]
_PURPOSE: Final = "push-ack"
_SIGNATURE_OCTETS: Final = 16
_ENGAGED: Final[dict[str, Engagement]] = {"opened": "read", "clicked": "clicked"}
#: Commits what carriers say (`delivery.node.Node.received`).
Received = Callable[[str, Sequence[CarrierReceipt], Sequence[InboundPart]], Awaitable[None]]


class AckToken(msgspec.Struct, frozen=True):
    """A token whose signature is ours."""

    project: str
    attempt: str
    part: int


def marked(ring: KeyRing, content: Content | None, project: str, attempt: str) -> Content | None:
    """A push message with the token of its attempt among its data; any other content as it is."""
    if not isinstance(content, PushContent):
        return content
    token = f"{project}.{attempt}.{_signature(ring, project, attempt)}"
    return msgspec.structs.replace(content, data=content.data | {ACK_KEY: token})


def read_token(ring: KeyRing, text: str) -> AckToken:
    """What a token names. Raises Forbidden unless we signed it."""
    project, _, rest = text.partition(".")
    attempt, _, rest = rest.partition(".")
    signature, _, part = rest.partition(".")
    good = hmac.compare_digest(_signature(ring, project, attempt).encode(), signature.encode())
    if not good or not (part.isascii() and part.isdigit() and len(part) <= 3):
        raise Forbidden("this is no token of a push message", code="forbidden")
    return AckToken(project, attempt, int(part))


class Acks:
    """Takes acknowledgements."""

    def __init__(self, store: Store, ring: KeyRing, received: Received) -> None:
        self._store, self._ring, self._received = store, ring, received

    async def take(self, token: AckToken, event: AckEvent, now_ms: int) -> None:
        """Returns after the commit. Raises NotFound if the message is not kept any more, Overloaded if it comes too early."""
        found = await self._store.acks.find(token.project, token.attempt)
        if found is None:
            raise NotFound("the message is not kept any more")
        if found.status == "sending":
            said = "the push service has not answered yet; come again"
            raise Overloaded(said, code="too_early", status=503, retry_after_s=1)
        ref = _ref(found.refs, token.part)
        to = None if ref else await self._address(token.project, found)
        receipt = CarrierReceipt(
            provider=found.provider, refs=(ref or f"{token.attempt}.{token.part}",), to=to, sender=None, state="delivered",
            carrier_state=event, engagement=_ENGAGED.get(event), received_ms=now_ms,
            user_ref=None if ref else found.user_ref, submit_at_ms=None if ref else found.created_ms,
        )  # fmt: skip
        await self._received(found.provider, [receipt], [])

    async def _address(self, project: str, found: AckedAttempt) -> str | None:
        """The device that the attempt is filed under: with it, and the echoed reference, an unknown outcome is settled."""
        messages = await self._store.messages.load(self._ring, project, [found.message])
        if found.message not in messages:
            return None
        personal = messages[found.message].message.personal
        return next((to for to in (personal.to, *personal.each) if address_key(self._ring, to) == found.to_hash), None)


def _ref(refs: tuple[str, ...], part: int) -> str:
    """The service's id of the part. One that never got an answer has none: any other device of the attempt stands for it, since
    one that has the message is enough. Empty if the attempt has no id at all."""
    if part >= len(refs):
        return ""
    return refs[part] or next(filter(None, refs), "")


def _signature(ring: KeyRing, project: str, attempt: str) -> str:
    return b64url(ring.keyed(_PURPOSE, f"{project}.{attempt}")[:_SIGNATURE_OCTETS])
