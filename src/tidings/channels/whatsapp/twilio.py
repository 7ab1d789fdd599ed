"""Provider `whatsapp.twilio`: WhatsApp over Twilio's Messages resource, whose addresses are `whatsapp:` and a number.

The account, signatures, errors and the breaker are those of `sms.twilio`. Twilio knows templates by a Content SID: the key
`contents` says which one a template's name (or `name:language`) is. Buttons and lists are such contents too; as free
messages there is no way to send them, nor reactions, contact cards and quotations.
Source: Twilio "WhatsApp: API", Messages resource (`ContentSid`, `ContentVariables`, `MediaUrl`, `PersistentAction`)
"""

import re
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from tidings.channels.callback import Called, RawRequest, Taken
from tidings.channels.contract import Capabilities, Facts, ProviderSpec, Sink
from tidings.channels.http.call import Call, Judged
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.http.provider import OverHttp
from tidings.channels.sms import twilio_callback, twilio_config, twilio_errors
from tidings.channels.sms.twilio import NO_SENDER, MessagesCodec
from tidings.channels.sms.twilio_callback import Account
from tidings.channels.whatsapp import window
from tidings.channels.whatsapp.twilio_inbound import inbound, receipt
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.content import Content
from tidings.domain.errors import SettingsError
from tidings.domain.message import MessageError
from tidings.domain.phone import phone_problem
from tidings.domain.whatsapp_checks import content_problems
from tidings.domain.whatsapp_content import MEDIA, Location, WhatsAppContent
from tidings.domain.whatsapp_template import Template, Text
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Reply

CAPABILITIES: Final = Capabilities(
    channel="whatsapp", level="gold", receipts=True, reads=True, inbound=True, media=True
)
PREFIX: Final = "whatsapp:"
BODY_CHARS: Final = 1_600  # error 21617
_CONTENT: Final = re.compile(r"HX[0-9a-fA-F]{32}")


class Config(twilio_config.Config, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As `sms.twilio`; `contents` names the Content SID of each template, by name or `name:language`."""

    contents: dict[str, str] = msgspec.field(default_factory=dict[str, str])


def read_config(name: str, raw: dict[str, Any]) -> Config:
    """The config of provider `name`. Raises `SettingsError` that names the key and what to do."""
    config = twilio_config.read_config(name, raw, Config)
    if config.sender and phone_problem(config.sender):
        raise SettingsError(f"provider {name}: `sender` {phone_problem(config.sender)}, without `whatsapp:`")
    for template, sid in config.contents.items():
        if not _CONTENT.fullmatch(sid):
            raise SettingsError(f"provider {name}: `contents`: {template!r} must be HX and 32 hexadecimal digits")
    return config


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "TwilioWhatsAppProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return TwilioWhatsAppProvider(spec, sink)


class WhatsAppCodec:
    """The same resource with WhatsApp's addresses. Pure."""

    def __init__(self, config: Config, account: Account) -> None:
        self._config, self._messages = config, MessagesCodec(config, account)

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The message as a form."""
        content = submission.content
        if not isinstance(content, WhatsAppContent):
            return PartRefused(_unsupported("This is no WhatsApp message."))
        fields = self._messages.sender(submission.sender)
        if not fields:
            return PartRefused(NO_SENDER)
        error = unfit(self._config, content)
        if error is not None:
            return PartRefused(error)
        if "From" in fields:
            fields["From"] = PREFIX + fields["From"]
        fields |= {"To": PREFIX + submission.to, **form(self._config, content)}
        return self._messages.post(fields, submission.user_ref)

    def judge(self, reply: Reply) -> Judged:
        """See `twilio_errors.judge`."""
        return twilio_errors.judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """WhatsApp's rates count messages."""
        return 1


def unfit(config: Config, content: WhatsAppContent) -> MessageError | None:
    """What Twilio cannot send as it is; what came out wrong when it was filled in."""
    if content.kind in ("interactive", "reaction", "contacts"):
        return _unsupported(f"Twilio sends no `{content.kind}` message but as a Content template.")
    if content.reply_to is not None:
        return _unsupported("Twilio cannot quote a message (`reply_to`).")
    problems = content_problems(content, "/text")
    if problems:
        return MessageError(code="invalid_content", detail=f"{problems[0].pointer} {problems[0].detail}")
    if content.text is not None and len(content.text) > BODY_CHARS:
        return MessageError(code="message_too_long", detail=f"Twilio takes {BODY_CHARS} characters.")
    if content.kind in MEDIA and getattr(content, content.kind).link is None:
        return _unsupported(f"Twilio takes no `{content.kind}.id`; give `link`.")
    if content.template is not None:
        return _unfit_template(config, content.template)
    return None


def form(config: Config, content: WhatsAppContent) -> dict[str, str]:
    """The fields of what it says; `unfit` has found nothing."""
    if content.template is not None:
        fields = {"ContentSid": _sid(config, content.template) or ""}
        variables = _variables(content.template)
        return {**fields, "ContentVariables": msgspec.json.encode(variables).decode()} if variables else fields
    if content.location is not None:
        return _place(content.location)
    if content.kind in MEDIA:
        medium = getattr(content, content.kind)
        caption = medium.caption or content.text
        return {"MediaUrl": medium.link, **({"Body": caption} if caption else {})}
    return {"Body": content.text or ""}


def _place(found: Location) -> dict[str, str]:
    label = f"|{found.name}" if found.name else ""
    fields = {"PersistentAction": f"geo:{found.latitude:.7f},{found.longitude:.7f}{label}"}
    return {**fields, "Body": found.address or found.name or "Location"}


def _sid(config: Config, template: Template) -> str | None:
    exact = config.contents.get(f"{template.name}:{template.language}")
    return exact or config.contents.get(template.name)


def _unfit_template(config: Config, template: Template) -> MessageError | None:
    if _sid(config, template) is None:
        detail = f"The provider's `contents` have no Content SID for template {template.name!r} ({template.language})."
        return MessageError(code="template_not_found", detail=detail)
    if any(not isinstance(parameter, Text) for part in template.components for parameter in part.parameters):
        return _unsupported("Over Twilio the parameters of a template are texts.")
    return None


def _variables(template: Template) -> dict[str, str]:
    """By name, or numbered through header, body and buttons."""
    texts = [item for part in template.components for item in part.parameters if isinstance(item, Text)]
    return {item.parameter_name or str(n): item.text for n, item in enumerate(texts, 1)}


def _unsupported(detail: str) -> MessageError:
    return MessageError(code="unsupported_content", detail=detail)


class TwilioWhatsAppProvider(OverHttp):
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
        self.engine = HttpEngine(
            spec.name, config.limits, WhatsAppCodec(config, self._account), sink, clock=clock, monotonic=monotonic,
            random=random,
        )  # fmt: skip

    def refuses(self, to: str, sender: str | None, content: Content, facts: Facts) -> MessageError | None:
        """See `channels.contract.Refuser`: the 24-hour window, and what Twilio cannot send."""
        assert isinstance(content, WhatsAppContent)
        return unfit(self.config, content) or window.refusal(content, facts)

    def callback(self, request: RawRequest) -> Called:
        """See `channels.callback.CallbackTaker`."""
        called = twilio_callback.take(self._account, request)
        if not isinstance(called, Taken):
            return called
        fields = twilio_callback.fields_of(request)
        return msgspec.structs.replace(
            called,
            receipts=tuple(receipt(item) for item in called.receipts),
            inbound=tuple(inbound(part, fields) for part in called.inbound),
        )
