"""Provider `push.fcm`: notifications to Android, iOS and web apps over Firebase Cloud Messaging (HTTP v1).

FCM answers that it took a message, not that a device has it: delivery is what the app acknowledges (`/v1/push/ack`).
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
from tidings.channels.push import fcm_errors
from tidings.channels.push.fcm_body import message_of
from tidings.channels.push.fcm_config import Config, read_config
from tidings.channels.push.google_auth import AccessTokens, AuthorizedTransport, private_key
from tidings.channels.push.parts import content_of, data_of, refused
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.push import is_subscription
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Guard, Outbound, Reply

CAPABILITIES: Final = Capabilities(channel="push", level="silver", media=True)


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "FcmProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return FcmProvider(spec, sink)


class FcmCodec:
    """`messages:send` and its answer. Pure; the access token is added where the request leaves."""

    def __init__(self, config: Config) -> None:
        project = config.project_id or config.account.project_id
        self._url = f"{config.base_url.rstrip('/')}/v1/projects/{project}/messages:send"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The message for one device."""
        token, content = submission.address(index), content_of(submission)
        if is_subscription(token):
            return refused("invalid_recipient", "This is a Web Push subscription; FCM takes registration tokens.")
        lives_s = content.lives_s(submission.valid_until_ms, now_ms)
        message = message_of(content, token, data_of(submission, index), lives_s, now_ms)
        return Call(method="POST", url=self._url, headers=self._headers, body=msgspec.json.encode({"message": message}))

    def judge(self, reply: Reply) -> Judged:
        """See `fcm_errors.judge`."""
        return fcm_errors.judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """One request, one message."""
        return 1


class FcmProvider(OverHttp):
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        self._config = read_config(spec.name, spec.config)
        self._clock, self._monotonic = clock, monotonic
        self.engine = HttpEngine(
            spec.name, self._config.limits, FcmCodec(self._config), sink, clock=clock, monotonic=monotonic,
            random=random, transport=self._transport,
        )  # fmt: skip

    def _transport(self) -> Transport:
        config, account = self._config, self._config.account
        outbound = Outbound(Guard(allow=config.allow_networks), timeout_s=config.response_timeout_s)
        tokens = AccessTokens(
            account, private_key(account), outbound, connect_s=config.connect_timeout_s,
            timeout_s=config.response_timeout_s, clock=self._clock, monotonic=self._monotonic,
        )  # fmt: skip
        return AuthorizedTransport(outbound, tokens, self._monotonic)
