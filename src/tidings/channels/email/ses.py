"""Provider `email.ses`: mails over Amazon SES (API v2, raw), what becomes of them over Amazon SNS.

The mail is ours to the last octet, signed with our own DKIM keys where there are any. Our id of the attempt goes with it
as a tag and comes back with every event, so that an unknown outcome is settled. Bounces come as events: the return path is
Amazon's. Replies come to `reply_domain`, whose MX is our mail server.
Source: Amazon SES API v2 "SendEmail"; "Contents of event data that Amazon SES publishes to Amazon SNS"
"""

import asyncio
import base64
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
import structlog

from tidings.channels.callback import Called, RawRequest
from tidings.channels.contract import Capabilities, ProviderSpec, Sink
from tidings.channels.email.compose import Identity, Unsendable, letter
from tidings.channels.email.identity import DkimConfig, converted, identity
from tidings.channels.email.ses_answers import judge
from tidings.channels.email.ses_events import ATTEMPT, read_event
from tidings.channels.email.sns import Ask, Envelope, SnsDesk
from tidings.channels.http.call import Call, Judged, Limits
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.http.keys import check_limits, check_url
from tidings.channels.http.provider import OverHttp
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.errors import SettingsError
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Guard, Outbound, Reply
from tidings.protocols.sigv4 import Credentials, signed_headers

CAPABILITIES: Final = Capabilities(channel="email", level="silver", receipts=True, reads=True, inbound=True, media=True)
_ASK_S: Final = 10.0
_ASK_BYTES: Final = 65_536
_log = structlog.get_logger("tidings.channels.email.ses")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account in one region. Times in seconds, the rate in mails a second."""

    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str = ""
    sender: str = ""
    configuration_set: str = ""  # publishes the events
    topic_arn: str = ""  # of the SNS topic that calls us; without it no event is believed
    mail_secret: str = ""
    reply_domain: str = ""
    dkim: tuple[DkimConfig, ...] = ()
    base_url: str = ""  # empty: https://email.REGION.amazonaws.com
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

    @property
    def url(self) -> str:
        """Of the API."""
        return self.base_url.rstrip("/") or f"https://email.{self.region}.amazonaws.com"


def read_config(name: str, raw: dict[str, Any]) -> tuple[Config, Identity]:
    """The config of provider `name`, and its mails' identity. Raises SettingsError that names the key and what to do."""
    config: Config = converted(name, raw, Config)
    if not config.region.replace("-", "").isalnum() or not config.region.isascii():
        raise SettingsError(f"provider {name}: `region` must be a region of AWS such as eu-central-1")
    for key in ("access_key_id", "secret_access_key", "session_token"):
        value: str = getattr(config, key)
        if not value.isascii() or any(char.isspace() for char in value) or not (value or key == "session_token"):
            raise SettingsError(f"provider {name}: `{key}` must be ASCII without spaces")
    if config.topic_arn and not config.topic_arn.startswith("arn:aws"):
        raise SettingsError(f"provider {name}: `topic_arn` must be that of an SNS topic: arn:aws:sns:…")
    check_url(name, "base_url", config.url, local=bool(config.allow_networks))
    check_limits(name, config.limits)
    return config, identity(
        name, sender=config.sender, mail_secret=config.mail_secret, bounce_domain="", reply_domain=config.reply_domain,
        dkim=config.dkim,
    )  # fmt: skip


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "SesProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return SesProvider(spec, sink)


class SendEmailCodec:
    """POST /v2/email/outbound-emails, signed. Pure."""

    def __init__(self, config: Config, named: Identity) -> None:
        self._config, self._identity = config, named
        self._url = f"{config.url}/v2/email/outbound-emails"
        self._credentials = Credentials(
            key_id=config.access_key_id, secret=config.secret_access_key, token=config.session_token
        )

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The whole mail, in base64."""
        del index
        try:
            made = letter(submission, self._identity, now_ms)
        except Unsendable as error:
            return PartRefused(error.error)
        body: dict[str, Any] = {
            "Destination": {"ToAddresses": [made.recipient]},
            "Content": {"Raw": {"Data": base64.b64encode(made.data).decode()}},
            "EmailTags": [{"Name": ATTEMPT, "Value": submission.attempt_id}],
        }
        if self._config.configuration_set:
            body["ConfigurationSetName"] = self._config.configuration_set
        octets = msgspec.json.encode(body)
        headers = signed_headers(
            "POST", self._url, {"Content-Type": "application/json"}, octets, self._credentials, region=self._config.region,
            service="ses", at_s=now_ms / 1000,
        )  # fmt: skip
        return Call(method="POST", url=self._url, headers=headers, body=octets)

    def judge(self, reply: Reply) -> Judged:
        """See `ses_answers.judge`."""
        return judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """Every mail counts once."""
        del submission, index
        return 1


class SesProvider(OverHttp):
    """See the module."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        self.config, named = read_config(spec.name, spec.config)
        self.desk = SnsDesk(self.config.topic_arn)
        codec = SendEmailCodec(self.config, named)
        self.engine = HttpEngine(
            spec.name, self.config.limits, codec, sink, clock=clock, monotonic=monotonic, random=random
        )
        self._asking: set[asyncio.Task[None]] = set()

    async def stop(self, drain_s: float) -> None:
        """See `HttpEngine.stop`."""
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await super().stop(drain_s)

    def callback(self, request: RawRequest) -> Called:
        """See `channels.callback.CallbackTaker`. A certificate that is not known yet is fetched; SNS calls again."""
        called, ask = self.desk.take(request, lambda envelope: self._read(envelope, request))
        if ask is not None:
            task = asyncio.get_running_loop().create_task(self._ask(ask), name=f"sns:{self.name}")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return called

    def _read(self, envelope: Envelope, request: RawRequest) -> Called:
        return read_event(self.name, envelope.message, request.received_ms)

    async def _ask(self, ask: Ask) -> None:
        """Fetches a certificate, or confirms the subscription: both at Amazon's own host only."""
        outbound = Outbound(Guard(allow=self.config.allow_networks), timeout_s=_ASK_S)
        try:
            reply = await outbound.exchange(
                "GET", ask.url, {}, None, connect_s=_ASK_S / 2, timeout_s=_ASK_S, most_bytes=_ASK_BYTES
            )
        finally:
            await outbound.close()
        if isinstance(reply, Reply) and reply.status == 200:
            self.desk.answered(ask, reply.body)
        else:
            self.desk.failed(ask)
            _log.warning("sns_not_reached", provider=self.name, what=ask.kind)
