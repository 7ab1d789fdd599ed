"""Provider `sms.twilio`: messages to and from people over Twilio's Messages resource (API 2010-04-01).

Twilio cuts a long text itself, so a message is one part with one SID. A status callback carries our own reference in its
URL, which is signed: that settles an unknown outcome. Twilio keeps no reference of a client's with a message, so an
unknown attempt is *not* looked for in its list (recipient and time may fit two messages).
"""

import base64
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

from tidings.channels.callback import Called, RawRequest
from tidings.channels.contract import Capabilities, ProviderSpec, Sink
from tidings.channels.http.call import Call, Judged
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.json import json_of
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.http.provider import OverHttp
from tidings.channels.sms import twilio_callback, twilio_errors
from tidings.channels.sms.http_text import plan_whole, segments_of, text_of
from tidings.channels.sms.twilio_callback import STATES, Account, callback_url
from tidings.channels.sms.twilio_config import Config, read_config
from tidings.domain.attempt import CarrierReceipt, PartRefused, Submission
from tidings.domain.message import MessageError
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Reply
from tidings.protocols.gsm.segments import Segments

CAPABILITIES: Final = Capabilities(channel="sms", level="gold", receipts=True, reads=True, inbound=True, query=True)
BODY_CHARS: Final = 1_600  # error 21617
VALIDITY_S: Final = (1, 36_000)  # Messages resource, ValidityPeriod
NO_SENDER: Final = MessageError(
    code="invalid_sender",
    detail="The message has no `from`, and the provider neither `sender` nor `messaging_service_sid`.",
)


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "TwilioProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return TwilioProvider(spec, sink)


class MessagesCodec:
    """POST and GET of the Messages resource. Pure."""

    def __init__(self, config: Config, account: Account) -> None:
        self._config, self._account = config, account
        self._url = f"{config.base_url.rstrip('/')}/2010-04-01/Accounts/{config.account_sid}/Messages"
        login = base64.b64encode(":".join(config.login).encode()).decode()
        self._headers = {"Authorization": f"Basic {login}", "Accept": "application/json"}
        self._post = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The message as a form."""
        fields = self.sender(submission.sender)
        if not fields:
            return PartRefused(NO_SENDER)
        fields |= {"To": submission.to, "Body": text_of(submission, index)}
        if self._config.validity and submission.valid_until_ms is not None:
            left_s = (submission.valid_until_ms - now_ms) // 1_000
            fields["ValidityPeriod"] = str(max(VALIDITY_S[0], min(VALIDITY_S[1], left_s)))
        return self.post(fields, submission.user_ref)

    def post(self, fields: dict[str, str], user_ref: int | None) -> Call:
        """The request of these fields, with the address of its status callbacks."""
        if self._account.public_url:
            fields["StatusCallback"] = callback_url(self._account, user_ref)
        return Call(method="POST", url=f"{self._url}.json", headers=self._post, body=urlencode(fields).encode())

    def judge(self, reply: Reply) -> Judged:
        """See `twilio_errors.judge`."""
        return twilio_errors.judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """Twilio's rates count segments."""
        return segments_of(submission, index)

    def fetch(self, sid: str) -> Call:
        """Asks for one message."""
        return Call(method="GET", url=f"{self._url}/{quote(sid, safe='')}.json", headers=self._headers)

    def sender(self, sender: str | None) -> dict[str, str]:
        """A message's own sender goes first; with a messaging service it must be one of its numbers."""
        own = sender or self._config.sender
        fields = {"From": own} if own else {}
        if self._config.messaging_service_sid:
            fields["MessagingServiceSid"] = self._config.messaging_service_sid
        return fields


class TwilioProvider(OverHttp):
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        config = self.config = read_config(spec.name, spec.config)
        self._account = Account(
            provider=spec.name, auth_token=config.auth_token, webhook_key_secret=config.webhook_key_secret,
            public_url=config.public_url, overrides=config.callback_overrides,
        )  # fmt: skip
        self._codec = MessagesCodec(config, self._account)
        self._clock = clock
        self.engine = HttpEngine(
            spec.name, config.limits, self._codec, sink, clock=clock, monotonic=monotonic, random=random
        )

    def plan(self, text: str) -> Segments:
        """One part, that Twilio cuts. Raises the typed errors of `protocols.gsm`."""
        return plan_whole(text, smart=self.config.smart, most_chars=BODY_CHARS)

    def callback(self, request: RawRequest) -> Called:
        """See `channels.callback.CallbackTaker`."""
        return twilio_callback.take(self._account, request)

    async def query(self, ref: str, sender: str | None, to: str | None = None) -> CarrierReceipt | None:
        """What Twilio says of the message it took as `ref`; None if it cannot say."""
        reply = await self.engine.ask(self._codec.fetch(ref)) if ref else None
        found = json_of(reply.body) if reply is not None and reply.status == 200 else None
        if not isinstance(found, dict):
            return None
        fields = cast("dict[str, Any]", found)
        status, code = fields.get("status"), fields.get("error_code")
        if not isinstance(status, str) or fields.get("sid") != ref:
            return None
        state, word = STATES.get(status, ("pending", status[:64]))
        return CarrierReceipt(
            provider=self.name, refs=(ref,), to=to, sender=sender, state=state, carrier_state=word,
            error_code=str(code) if isinstance(code, int) else None, received_ms=self._clock(),
        )  # fmt: skip
