"""Provider `whatsapp.cloud_api`: messages to and from people over Meta's WhatsApp Cloud API; one provider is one number.

Meta takes a message with an id and tells of it by callbacks. Each message carries our own reference, which comes back with
its statuses: that settles an outcome that was never answered. Source: WhatsApp Cloud API v23.0
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
import structlog

from tidings.channels.callback import Called, RawRequest, Taken
from tidings.channels.contract import Capabilities, Facts, ProviderSpec, Sink
from tidings.channels.errands import ErrandFailed, TemplateStatus
from tidings.channels.http.call import Call, Judged
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.keys import OPERATOR_KEYS as HTTP_OPERATOR_KEYS
from tidings.channels.http.provider import OverHttp
from tidings.channels.whatsapp import cloud_callback, cloud_errors, cloud_media, cloud_templates, payload, window
from tidings.channels.whatsapp.cloud_callback import Account, callback_data
from tidings.channels.whatsapp.cloud_config import Config as Config
from tidings.channels.whatsapp.cloud_config import read_config
from tidings.channels.whatsapp.cloud_templates import Catalogue
from tidings.channels.whatsapp.graph import Graph, headers_of
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.content import Content
from tidings.domain.message import MessageError
from tidings.domain.whatsapp_checks import content_problems
from tidings.domain.whatsapp_content import WhatsAppContent
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.limits import CALLBACK_COMPLETE_S
from tidings.kit.outbound import Reply

OPERATOR_KEYS: Final = HTTP_OPERATOR_KEYS | {"window_open_for"}
CAPABILITIES: Final = Capabilities(
    channel="whatsapp", level="gold", receipts=True, reads=True, inbound=True, media=True
)
_log: Final = structlog.get_logger("tidings.channels.whatsapp")


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    read_config(name, config)


def create(spec: ProviderSpec, sink: Sink) -> "CloudApiProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` that names the bad key."""
    return CloudApiProvider(spec, sink)


class MessagesCodec:
    """POST `/{phone_number_id}/messages`. Pure."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._url = config.url(config.phone_number_id, "messages")
        self._headers = {**headers_of(config), "Content-Type": "application/json"}

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """The message as JSON."""
        content = submission.content
        if not isinstance(content, WhatsAppContent):
            return PartRefused(MessageError(code="unsupported_content", detail="This is no WhatsApp message."))
        error = unfit(self._config, submission.sender, content)
        if error is not None:
            return PartRefused(error)
        own = callback_data(submission.user_ref, submission.to) if self._config.callback_data else None
        body = msgspec.json.encode(payload.message(content, submission.to, own))
        return Call(method="POST", url=self._url, headers=self._headers, body=body)

    def judge(self, reply: Reply) -> Judged:
        """See `cloud_errors.judge`."""
        return cloud_errors.judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """The throughput counts messages."""
        return 1


def unfit(config: Config, sender: str | None, content: WhatsAppContent) -> MessageError | None:
    """What this number cannot send, whoever it is for: another's sender; what came out wrong when it was filled in."""
    if sender is not None and sender != config.phone_number:
        return MessageError(code="invalid_sender", detail="This provider sends from another number than `from` says.")
    problems = content_problems(content, "/text")
    if problems:
        return MessageError(code="invalid_content", detail=f"{problems[0].pointer} {problems[0].detail}")
    return None


class CloudApiProvider(OverHttp):
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name, self.capabilities = spec.name, CAPABILITIES
        config = self.config = read_config(spec.name, spec.config)
        self._account = Account(
            provider=spec.name, app_secret=config.app_secret, verify_token=config.verify_token,
            phone_number_id=config.phone_number_id, phone_number=config.phone_number,
            business_account_id=config.business_account_id,
        )  # fmt: skip
        self.catalogue = Catalogue()
        self._sync: asyncio.Task[None] | None = None
        self._stale = asyncio.Event()
        self.engine = HttpEngine(
            spec.name, config.limits, MessagesCodec(config), sink, clock=clock, monotonic=monotonic, random=random
        )

    async def start(self) -> None:
        """Ready to send; the first request shows whether Meta can be reached. Templates are read in the background."""
        await super().start()
        if self.config.business_account_id:
            self._sync = asyncio.create_task(self._sync_forever(), name=f"whatsapp-templates:{self.name}")

    async def stop(self, drain_s: float) -> None:
        """See `HttpEngine.stop`."""
        if self._sync is not None:
            self._sync.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sync
            self._sync = None
        await super().stop(drain_s)

    def refuses(self, to: str, sender: str | None, content: Content, facts: Facts) -> MessageError | None:
        """See `channels.contract.Refuser`: the 24-hour window, and templates that are not approved."""
        assert isinstance(content, WhatsAppContent)
        if content.template is not None:
            if not self.catalogue.knows(content.template):
                self._stale.set()
            error = self.catalogue.refusal(content.template)
            if error is not None:
                return error
        error = unfit(self.config, sender, content)
        return error if error is not None or to in self.config.window_open_for else window.refusal(content, facts)

    def callback(self, request: RawRequest) -> Called:
        """See `channels.callback.CallbackTaker`."""
        called = cloud_callback.take(self._account, request)
        if isinstance(called, Taken):
            for item in cloud_callback.news(self._account, request):
                self.catalogue.tell(item.name, item.language, item.status)
                self._stale.set()
        return called

    async def complete(self, taken: Taken) -> Taken:
        """See `channels.callback.Completer`: the files that people sent."""
        wanted = any(part.content is not None and part.content.attachments for part in taken.inbound)
        if self.config.media != "fetch" or not wanted:
            return taken
        done, troubles = await cloud_media.complete(self.config, taken, CALLBACK_COMPLETE_S * 0.9)
        for trouble in troubles:
            _log.warning("media_not_fetched", provider=self.name, reason=trouble)
        return done

    async def mark_read(self, ref: str) -> None:
        """Tells the person that their message `ref`, and all before it, was read. Raises ErrandFailed."""
        async with Graph(self.config) as graph:
            url = self.config.url(self.config.phone_number_id, "messages")
            await graph.json("POST", url, payload.read_mark(ref))

    def upload_problem(self, media_type: str, size: int) -> str | None:
        """See `channels.errands.Uploader`."""
        return cloud_media.upload_problem(media_type, size)

    async def upload(self, media_type: str, data: bytes) -> str:
        """Meta's id of a file, for `image.id` and the like; good for 30 days. Raises ErrandFailed."""
        return await cloud_media.upload(self.config, media_type, data)

    async def templates(self) -> list[TemplateStatus]:
        """All templates of the account as Meta has them now. Raises ErrandFailed."""
        if not self.config.business_account_id:
            raise ErrandFailed("`business_account_id` is not set, so that templates cannot be read")
        found = await cloud_templates.fetch(self.config)
        self.catalogue.replace(found)
        return found

    async def _sync_forever(self) -> None:
        """At once, then every `templates_every_s`; soon after a template that nobody has heard of."""
        while True:
            self._stale.clear()
            try:
                await self.templates()
            except ErrandFailed as error:
                _log.warning("templates_not_read", provider=self.name, reason=str(error))
            await asyncio.sleep(min(10.0, self.config.templates_every_s))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stale.wait(), max(0.0, self.config.templates_every_s - 10.0))
