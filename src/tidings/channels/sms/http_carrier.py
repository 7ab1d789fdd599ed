"""Provider `sms.http`: a carrier that is described by configuration alone. See docs/providers/http.md."""

import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from tidings.channels.callback import Called, NotGenuine, RawRequest
from tidings.channels.contract import Capabilities, ProviderSpec, Sink
from tidings.channels.described.callback import CallbackReader
from tidings.channels.described.compile import read_config
from tidings.channels.described.config import Config as Config
from tidings.channels.described.request import RequestWriter
from tidings.channels.described.response import ResponseReader
from tidings.channels.http.call import Call, Judged
from tidings.channels.http.engine import HttpEngine
from tidings.channels.http.keys import OPERATOR_KEYS as OPERATOR_KEYS
from tidings.channels.http.provider import OverHttp
from tidings.channels.sms.http_text import plan_whole, segments_of
from tidings.channels.sms.http_words import words
from tidings.domain.attempt import PartRefused, Submission
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.outbound import Reply
from tidings.protocols.gsm import segments
from tidings.protocols.gsm.segments import Segments

CAPABILITIES: Final = Capabilities(channel="sms", level="gold", receipts=True, reads=True, inbound=True)


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the field by its JSON pointer, if `config` cannot be used."""
    HttpCodec(name, read_config(name, config))


def create(spec: ProviderSpec, sink: Sink) -> "HttpProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError` as `check` does."""
    return HttpProvider(spec, sink)


class HttpCodec:
    """The configuration at work. Pure."""

    def __init__(self, name: str, config: Config) -> None:
        self._writer = RequestWriter(name, config, words(config.encoding.words))
        self._reader = ResponseReader(name, config)
        self.callbacks = CallbackReader(name, config, config.callbacks) if config.callbacks is not None else None

    def call(self, submission: Submission, index: int, now_ms: int) -> Call | PartRefused:
        """See `RequestWriter`."""
        return self._writer.write(submission, index, now_ms)

    def judge(self, reply: Reply) -> Judged:
        """See `ResponseReader`."""
        return self._reader.judge(reply)

    def weight(self, submission: Submission, index: int) -> int:
        """Rates count segments; one that we cut ourselves is one."""
        return 1 if len(submission.parts) > 1 else segments_of(submission, index)


class HttpProvider(OverHttp):
    """See the module. All methods are called on the event loop's thread."""

    def __init__(
        self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms,
        monotonic: Callable[[], float] = time.monotonic, random: Random | None = None,
    ) -> None:  # fmt: skip
        self.name = spec.name
        config = self.config = read_config(spec.name, spec.config)
        called = config.callbacks
        self.capabilities = msgspec.structs.replace(
            CAPABILITIES,
            receipts=called is not None and called.receipts is not None,
            reads=called is not None and called.receipts is not None and "read" in called.receipts.states.values(),
            inbound=called is not None and called.inbound is not None,
        )
        self._codec = HttpCodec(spec.name, config)
        self.engine = HttpEngine(
            spec.name, config.limits, self._codec, sink, clock=clock, monotonic=monotonic, random=random
        )

    def plan(self, text: str) -> Segments:
        """One part, or those that we cut ourselves. Raises the typed errors of `protocols.gsm`."""
        encoding = self.config.encoding
        if encoding.segments == "us":
            return segments.plan(text, encoding=encoding.alphabet, smart=encoding.smart)
        return plan_whole(text, smart=encoding.smart, encoding=encoding.alphabet, most_chars=encoding.most_chars)

    def callback(self, request: RawRequest) -> Called:
        """See `channels.callback.CallbackTaker`."""
        if self._codec.callbacks is None:
            return NotGenuine("the provider has no `callbacks`")
        return self._codec.callbacks.take(request)
