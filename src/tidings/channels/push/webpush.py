"""Provider `push.webpush`: notifications to browsers over the push service that each of them chose.

The device's token is its subscription. Nothing that one push service answers is held against the others.
Source: RFC 8030 §5 (requesting), RFC 8291 (encryption), RFC 8292 (identification)
"""

import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from tidings.channels.contract import Capabilities, ProviderSpec, Sink
from tidings.channels.http.call import Call, Judged, Transport
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.http.provider import OverHttp
from tidings.channels.http.retry_after import retry_after_s
from tidings.channels.push.parts import content_of, data_of, refused, taken, topic_of
from tidings.channels.push.webpush_config import Config, read_config
from tidings.channels.push.webpush_wire import KIND, MOST_S, NO_ANSWER, REASON, IsolatingTransport, VapidHeaders
from tidings.domain.attempt import PartRefused, PartRetry, PartUnknown, Submission
from tidings.domain.message import MessageError
from tidings.domain.push import read_subscription
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Guard, Outbound, Reply
from tidings.protocols.webpush import message, vapid

CAPABILITIES: Final = Capabilities(channel="push", level="silver", media=True)
SPEC: Final = "RFC 8030"
REF_CHARS: Final = 256
#: Status → our stable code, what a person should know, why the subscription must not be used again.
TABLE: Final[dict[int, tuple[str, str, str | None]]] = {
    400: ("invalid_content", "The push service says that the request is not valid.", None),
    401: (
        "bad_credentials",
        "The push service refuses the VAPID signature; see `vapid_private_key` and `subject`.",
        None,
    ),
    403: ("wrong_sender", "The browser subscribed with another application server key.", None),
    404: ("unregistered", "The subscription has expired.", "unregistered"),
    410: ("unregistered", "The person has unsubscribed, or the browser was removed.", "unregistered"),
    413: ("message_too_long", "The push service takes no message of this size.", None),
}


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "WebPushProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return WebPushProvider(spec, sink)


class WebPushCodec:
    """A push message and the answer to it. Pure but for the random key of each message."""

    def __init__(self, config: Config) -> None:
        self._ttl_s = config.ttl_s
        self._http = bool(config.allow_networks)
        self._vapid = VapidHeaders(vapid.private_key(config.vapid_private_key), config.subject)

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The encrypted message for one subscription."""
        content = content_of(submission)
        try:
            subscription = read_subscription(submission.address(index))
        except ValueError as error:
            return refused("invalid_recipient", f"The token {error}.")
        if not subscription.endpoint.startswith("https://") and not self._http:
            return refused("invalid_recipient", "The endpoint of the subscription does not begin with https://.")
        try:
            body = message.encrypt(self._payload(submission, index), subscription.keys)
        except ValueError as error:
            return refused("message_too_long", f"The notification is too long: {error}.")
        lives_s = content.lives_s(submission.valid_until_ms, now_ms)
        headers = {
            "Authorization": self._vapid.of(subscription.endpoint, now_ms // 1_000),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(self._ttl_s if lives_s is None else lives_s),
            "Urgency": content.priority,
        }
        if content.collapse_key is not None:
            headers["Topic"] = topic_of(content.collapse_key)
        return Call(method="POST", url=subscription.endpoint, headers=headers, body=body)

    def judge(self, reply: Reply) -> Judged:
        """What the push service said, or that it said nothing."""
        if reply.status == NO_ANSWER:
            return _no_answer(reply.headers[KIND], reply.headers[REASON])
        if 200 <= reply.status < 300:
            return taken(reply.headers.get("location"), REF_CHARS)
        after_s = retry_after_s(reply, MOST_S)
        if reply.status == 429 or (reply.status == 503 and after_s is not None):
            detail = (
                "The push service says we send too fast." if reply.status == 429 else "The push service is overloaded."
            )
            code = "throttled" if reply.status == 429 else "unavailable"
            return PartRetry(_error(code, detail, reply.status, final=False), after_s)
        if reply.status >= 500 or reply.status == 408:
            return PartUnknown(f"http_{reply.status}")
        said = ("refused", f"The push service refuses the message (HTTP {reply.status}).", None)
        code, detail, suppress = TABLE.get(reply.status, said)
        return PartRefused(_error(code, detail, reply.status, final=True), suppress)

    def weight(self, submission: Submission, index: int) -> int:
        """One request, one message."""
        return 1

    def _payload(self, submission: Submission, index: int) -> bytes:
        """What the service worker of the web app reads; see docs/providers/push-webpush.md."""
        content = content_of(submission)
        fields = {
            "title": content.title, "body": content.body, "image": content.image, "badge": content.badge,
            "sound": content.sound, "click_action": content.click_action, "tag": content.collapse_key,
            "data": data_of(submission, index) or None,
        }  # fmt: skip
        return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


class WebPushProvider(OverHttp):
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        self._config = read_config(spec.name, spec.config)
        self._monotonic = monotonic
        self.engine = HttpEngine(
            spec.name, self._config.limits, WebPushCodec(self._config), sink, clock=clock, monotonic=monotonic,
            random=random, transport=self._transport,
        )  # fmt: skip

    def _transport(self) -> Transport:
        config = self._config
        outbound = Outbound(Guard(allow=config.allow_networks), timeout_s=config.response_timeout_s)
        return IsolatingTransport(outbound, self._monotonic)


def _no_answer(kind: str, reason: str) -> Judged:
    if kind == "unknown":
        return PartUnknown(reason)
    if kind == "forbidden":
        return refused("forbidden_address", f"The endpoint of the subscription is not called: {reason}.")
    detail = f"The push service cannot be reached: {reason}."
    return PartRetry(MessageError(code="unreachable", detail=detail, permanent=False, retryable=True))


def _error(code: str, detail: str, status: int, *, final: bool) -> MessageError:
    return MessageError(
        code=code, detail=detail, permanent=final, retryable=not final, provider_code=f"HTTP {status}", spec=SPEC
    )
