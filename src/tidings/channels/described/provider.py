"""A provider of a channel other than SMS whose carrier is described by configuration. See docs/providers/http.md."""

import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from tidings.channels.callback import Called, NotGenuine, RawRequest
from tidings.channels.contract import Capabilities, Facts, ProviderSpec, Sink
from tidings.channels.described.callback import CallbackReader
from tidings.channels.described.compile import Refuse, read_config
from tidings.channels.described.config import Config
from tidings.channels.described.request import RequestWriter
from tidings.channels.described.response import ResponseReader
from tidings.channels.described.words import CONTENT, OF
from tidings.channels.http.call import Call, Judged
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.provider import OverHttp
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.content import Content
from tidings.domain.email import EmailContent
from tidings.domain.message import MessageError
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Reply

_NO_FILES: Final = MessageError(
    code="not_supported", detail="the provider's request names no {content}, so it cannot send attachments"
)


def check(name: str, config: dict[str, Any], channel: str) -> None:
    """Raises `SettingsError`, naming the field by its JSON pointer, if `config` cannot be used."""
    read = read_config(name, config)
    _Codec(name, read, channel)
    for key in ("most_chars", "segments", "alphabet", "smart", "words"):
        if key in config.get("encoding", {}):
            raise Refuse(name).error(f"/encoding/{key}", "is for SMS: this channel has no segments")


def capabilities(channel: str) -> Capabilities:
    """What such a provider can do at most; what it does is for its configuration to say."""
    return Capabilities(channel=channel, level="silver", receipts=True, reads=True, inbound=True)


class _Codec:
    """The configuration at work. Pure."""

    def __init__(self, name: str, config: Config, channel: str) -> None:
        self._writer = RequestWriter(name, config, OF[channel])
        self._reader = ResponseReader(name, config)
        self.names_content = CONTENT in self._writer.names
        called = config.callbacks
        self.callbacks = CallbackReader(name, config, called, channel) if called is not None else None

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """See `RequestWriter`."""
        return self._writer.write(submission, index, now_ms)

    def judge(self, reply: Reply) -> Judged:
        """See `ResponseReader`."""
        return self._reader.judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """A message counts as one."""
        return 1


class DescribedProvider(OverHttp):
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, channel: str, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name = spec.name
        config = self.config = read_config(spec.name, spec.config)
        called = config.callbacks
        receipts = called.receipts if called is not None else None
        self.capabilities = msgspec.structs.replace(
            capabilities(channel),
            receipts=receipts is not None,
            reads=receipts is not None and "read" in receipts.states.values(),
            inbound=called is not None and called.inbound is not None,
        )
        self._codec = _Codec(spec.name, config, channel)
        self._whole = self._codec.names_content
        self.engine = HttpEngine(
            spec.name, config.limits, self._codec, sink, clock=clock, monotonic=monotonic, random=random
        )

    def refuses(self, to: str, sender: str | None, content: Content, facts: Facts) -> MessageError | None:
        """What the request has no place for is refused, never left out."""
        if isinstance(content, EmailContent) and content.attachments and not self._whole:
            return _NO_FILES
        return None

    def callback(self, request: RawRequest) -> Called:
        """See `channels.callback.CallbackTaker`."""
        if self._codec.callbacks is None:
            return NotGenuine("the provider has no `callbacks`")
        return self._codec.callbacks.take(request)
