"""Provider `push.apns`: notifications to Apple devices, many requests at once on one HTTP/2 connection.

APNs answers that it took a message, not that a device has it: delivery is what the app acknowledges (`/v1/push/ack`).
Source: Apple, "Sending notification requests to APNs"; "Generating a remote notification"
"""

import re
import time
import uuid
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from tidings.channels.contract import Capabilities, ProviderSpec, Sink
from tidings.channels.http.call import Call, Judged, Transport
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.http.provider import OverHttp
from tidings.channels.push import apns_errors
from tidings.channels.push.apns_auth import ProviderTokens, SignedTransport, private_key
from tidings.channels.push.apns_body import apns_headers, aps_of
from tidings.channels.push.apns_config import Config, read_config
from tidings.channels.push.parts import content_of, data_of, refused
from tidings.domain.attempt import PartRefused, Submission
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.http2 import Http2
from tidings.kit.outbound import Guard, Reply

CAPABILITIES: Final = Capabilities(channel="push", level="silver", media=True)
PAYLOAD_OCTETS: Final = 4_096
#: Apple says that their length may change.
_TOKEN: Final = re.compile(r"(?:[0-9a-fA-F]{2}){32,100}")
_IDS: Final = uuid.UUID("5ee0de6b-9a0c-4f5d-8b7a-6f2c1f0f7a11")


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "ApnsProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return ApnsProvider(spec, sink)


class ApnsCodec:
    """A POST to /3/device/… and its answer. Pure; the provider token is added where the request leaves."""

    def __init__(self, config: Config) -> None:
        self._url, self._topic = f"{config.url}/3/device/", config.topic

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The notification for one device."""
        token, content = submission.address(index), content_of(submission)
        if not _TOKEN.fullmatch(token):
            return refused("invalid_recipient", "This is no token of APNs, which is 64 hexadecimal digits or more.")
        payload = self._payload(submission, index)
        if len(payload) > PAYLOAD_OCTETS:
            detail = f"The notification has {len(payload)} octets; APNs takes {PAYLOAD_OCTETS}."
            return refused("message_too_long", detail)
        lives_s = content.lives_s(submission.valid_until_ms, now_ms)
        # the same for every try of one attempt, so that it names the part even where no answer came
        headers = {"apns-topic": self._topic, "apns-id": str(uuid.uuid5(_IDS, f"{submission.attempt_id}.{index}"))}
        headers |= apns_headers(content, lives_s, now_ms)
        return Call(method="POST", url=self._url + token, headers=headers, body=payload)

    def judge(self, reply: Reply) -> Judged:
        """See `apns_errors.judge`."""
        return apns_errors.judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """One request, one message."""
        return 1

    def _payload(self, submission: Submission, index: int) -> bytes:
        """`image` and `click_action` are for the app: its service extension fetches the one, its delegate opens the other."""
        content = content_of(submission)
        aps = aps_of(content)
        if content.shown:
            alert = {"title": content.title, "body": content.body}
            aps["alert"] = {name: value for name, value in alert.items() if value is not None}
        more = {"image": content.image if content.shown else None, "click_action": content.click_action}
        own = {name: value for name, value in more.items() if value is not None}
        return msgspec.json.encode({**data_of(submission, index), **own, "aps": aps})


class ApnsProvider(OverHttp):
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        config = self._config = read_config(spec.name, spec.config)
        self._tokens = ProviderTokens(private_key(config.private_key), config.key_id, config.team_id, clock)
        self._monotonic = monotonic
        self.engine = HttpEngine(
            spec.name, config.limits, ApnsCodec(config), sink, clock=clock, monotonic=monotonic, random=random,
            transport=self._transport,
        )  # fmt: skip

    def _transport(self) -> Transport:
        config = self._config
        wire = Http2(Guard(allow=config.allow_networks), ca_pem=config.ca_pem.encode() or None)
        return SignedTransport(wire, self._tokens, self._monotonic)
