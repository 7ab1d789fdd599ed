"""Provider `email.sendgrid`: mails over Twilio SendGrid's Mail Send (v3), what becomes of them by its Event Webhook.

SendGrid writes the mail itself, from the same fields. Our own id of the attempt goes with it (`custom_args`) and comes
back with every event, so that an unknown outcome is settled. Replies come to `reply_domain`, whose MX is our mail server.
Source: Twilio SendGrid "Mail Send API v3"; "Event Webhook Reference"
"""

import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from tidings.channels.callback import Called, RawRequest
from tidings.channels.contract import Capabilities, ProviderSpec, Sink
from tidings.channels.email import sendgrid_events
from tidings.channels.email.compose import Identity, Unsendable, mail_of
from tidings.channels.email.identity import converted, identity
from tidings.channels.email.sendgrid_answers import judge
from tidings.channels.http.call import Call, Judged, Limits
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.http.keys import check_limits, check_url
from tidings.channels.http.provider import OverHttp
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.email import EmailContent
from tidings.domain.errors import SettingsError
from tidings.domain.message import MessageError
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Reply
from tidings.protocols.mail.headers import HeaderError, Mailbox
from tidings.protocols.mail.mime import Mail, build, check_header

CAPABILITIES: Final = Capabilities(channel="email", level="silver", receipts=True, reads=True, inbound=True, media=True)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One SendGrid account. Times in seconds, the rate in mails a second."""

    api_key: str
    sender: str = ""
    webhook_public_key: str = ""  # of the signed Event Webhook; without it no event is believed
    mail_secret: str = ""
    reply_domain: str = ""
    sandbox: bool = False  # checked by SendGrid, not delivered
    base_url: str = "https://api.sendgrid.com"
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


def read_config(name: str, raw: dict[str, Any]) -> tuple[Config, Identity]:
    """The config of provider `name`, and its mails' identity. Raises SettingsError that names the key and what to do."""
    config: Config = converted(name, raw, Config)
    if not config.api_key.isascii() or not config.api_key.isprintable() or not config.api_key.strip():
        raise SettingsError(f"provider {name}: `api_key` must be an API key of SendGrid: SG.…")
    check_url(name, "base_url", config.base_url, local=bool(config.allow_networks))
    check_limits(name, config.limits)
    if config.webhook_public_key:
        sendgrid_events.read_key(name, config.webhook_public_key)
    return config, identity(
        name,
        sender=config.sender,
        mail_secret=config.mail_secret,
        bounce_domain="",
        reply_domain=config.reply_domain,
        dkim=(),
    )


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "SendgridProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return SendgridProvider(spec, sink)


class MailSendCodec:
    """POST /v3/mail/send. Pure."""

    def __init__(self, config: Config, named: Identity) -> None:
        self._config, self._identity = config, named
        self._url = f"{config.base_url.rstrip('/')}/v3/mail/send"
        self._headers = {
            "Authorization": f"Bearer {config.api_key}", "Content-Type": "application/json", "Accept": "application/json",
        }  # fmt: skip

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The mail as JSON."""
        del index
        try:
            mail = mail_of(submission, self._identity, now_ms)
            build(mail)  # whatever could not be written as a mail is refused here, in the same words as over SMTP
        except Unsendable as error:
            return PartRefused(error.error)
        except HeaderError as error:
            return PartRefused(MessageError(code="invalid_content", detail=str(error), spec="RFC 5322"))
        body = self._body(mail, submission)
        return Call(method="POST", url=self._url, headers=self._headers, body=msgspec.json.encode(body))

    def judge(self, reply: Reply) -> Judged:
        """See `sendgrid_answers.judge`."""
        return judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """Every mail counts once."""
        del submission, index
        return 1

    def _body(self, mail: Mail, submission: Submission) -> dict[str, Any]:
        body: dict[str, Any] = {
            "personalizations": [
                {"to": [_box(box) for box in mail.to], "custom_args": {sendgrid_events.ARG: submission.attempt_id}}
            ],
            "from": _box(mail.sender), "subject": mail.subject,
            "content": [
                {"type": f"text/{kind}", "value": value} for kind, value in (("plain", mail.text), ("html", mail.html)) if value
            ],
        }  # fmt: skip
        if mail.reply_to:
            body["reply_to"] = _box(mail.reply_to[0])
        headers = _headers(mail)
        if headers:
            body["headers"] = headers
        content = submission.content
        files = content.attachments if isinstance(content, EmailContent) else ()
        if files:
            body["attachments"] = [
                {"content": item.data, "type": item.media_type, "filename": item.name or "file",
                 **({"disposition": "inline", "content_id": item.content_id} if item.content_id else {"disposition": "attachment"})}
                for item in files
            ]  # fmt: skip
        if self._config.sandbox:
            body["mail_settings"] = {"sandbox_mode": {"enable": True}}
        return body


def _box(box: Mailbox) -> dict[str, str]:
    return {"email": box.address, "name": box.name} if box.name else {"email": box.address}


def _headers(mail: Mail) -> dict[str, str]:
    """The caller's headers, encoded as they stand in a mail; List-Unsubscribe with one click."""
    found = {name: _written(name, value) for name, value in mail.headers}
    uri = mail.unsubscribe_url or mail.unsubscribe_mailto
    if uri:
        found["List-Unsubscribe"] = f"<{uri}>"
    if uri.lower().startswith("https://"):
        found["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return found


def _written(name: str, value: str) -> str:
    return check_header(name, value).decode().partition(":")[2].replace("\r\n", "").strip()


class SendgridProvider(OverHttp):
    """See the module."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        self.config, named = read_config(spec.name, spec.config)
        self._key = (
            sendgrid_events.read_key(spec.name, self.config.webhook_public_key)
            if self.config.webhook_public_key
            else None
        )
        codec = MailSendCodec(self.config, named)
        self.engine = HttpEngine(
            spec.name, self.config.limits, codec, sink, clock=clock, monotonic=monotonic, random=random
        )

    def callback(self, request: RawRequest) -> Called:
        """See `channels.callback.CallbackTaker`."""
        return sendgrid_events.take(self.name, self._key, request)
