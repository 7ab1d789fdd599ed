"""Provider `other.apprise`: notes to services of the long tail, each by its Apprise URL. See docs/providers/other-apprise.md.

Apprise says of a note that it went out, or that it did not; not whether a service may have taken it all the same. What did
not go out is tried again, so that a note may come twice, never not at all.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tidings.channels.contract import Capabilities, Facts, Link, ProviderSpec, Sink
from tidings.channels.local_error import local_error
from tidings.domain.attempt import Outcome, PartExpired, PartOutcome, PartRetry, PartSent, PartUnknown, Submission
from tidings.domain.content import Content
from tidings.domain.errors import SettingsError
from tidings.domain.message import Lane, MessageError
from tidings.domain.other import OtherContent, address_problem
from tidings.kit.clock import Clock, wall_ms

CAPABILITIES: Final = Capabilities(channel="other", level="bronze")
#: Targets are URLs with secrets that lead anywhere, inside networks too: only the operator may name them.
OPERATOR_KEYS: Final = frozenset({"targets"})
_FAILED: Final = local_error("not_sent", "The service did not take the note, or could not be reached.")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`targets`: name → Apprise URL, such as `slack://…`. `window`: notes on their way at once."""

    targets: dict[str, str]
    window: int = 4
    response_timeout_s: float = 15


def check(name: str, config: dict[str, Any]) -> None:
    """Raises `SettingsError`, naming the key, if `config` cannot be used."""
    _services(name, _read(name, config))


def create(spec: ProviderSpec, sink: Sink) -> "AppriseProvider":
    """The provider `spec` declares, not yet started. Raises `SettingsError`."""
    return AppriseProvider(spec, sink)


def _read(name: str, raw: dict[str, Any]) -> Config:
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise SettingsError(f"provider {name}: {str(error).replace('`$.', '`')}") from None
    if not config.targets:
        raise SettingsError(f"provider {name}: `targets` must name at least one service")
    for key, least, most in (("window", 1, 64), ("response_timeout_s", 1, 25)):
        if not least <= getattr(config, key) <= most:
            raise SettingsError(f"provider {name}: `{key}` must be from {least} to {most}")
    return config


def _services(name: str, config: Config) -> dict[str, Any]:
    """An Apprise object for each target. Raises `SettingsError`; its text never holds a URL."""
    try:
        import apprise
    except ImportError:
        raise SettingsError(
            f"provider {name}: other.apprise needs the extra `reach`: pip install 'tidings[reach]'"
        ) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would write URLs, and what was said
    found: dict[str, Any] = {}
    for target, url in config.targets.items():
        if address_problem(target):
            raise SettingsError(f"provider {name}: `targets.{target}`: {address_problem(target)}")
        made: Any = apprise.Apprise()
        if not made.add(url):
            raise SettingsError(f"provider {name}: `targets.{target}` is no URL that Apprise knows")
        found[target] = made
    return found


class AppriseProvider:
    """See the module. All methods are called on the event loop's thread."""

    def __init__(self, spec: ProviderSpec, sink: Sink, *, clock: Clock = wall_ms) -> None:
        self.name, self.capabilities = spec.name, CAPABILITIES
        self.config = _read(spec.name, spec.config)
        self._services = _services(spec.name, self.config)
        self._sink, self._clock, self._since_ms = sink, clock, clock()
        self._running: dict[asyncio.Task[None], Submission] = {}
        self._up = False

    async def start(self) -> None:
        """Ready at once: there is no session."""
        self._up, self._since_ms = True, self._clock()
        self._sink.link_changed(self.name, self.links()[0])

    async def stop(self, drain_s: float) -> None:
        """Takes nothing more; what does not end within `drain_s` is unknown."""
        self._up = False
        if self._running and drain_s > 0:
            await asyncio.wait(list(self._running), timeout=drain_s)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    def credit(self, lane: Lane) -> int:
        """Free places."""
        return max(0, self.config.window - len(self._running)) if self._up else 0

    def submit(self, batch: Sequence[Submission]) -> None:
        """Each is a call of its own."""
        for submission in batch:
            early = self._too_late(submission)
            if early is not None:
                asyncio.get_running_loop().call_soon(self._tell, submission, early)
                continue
            task = asyncio.get_running_loop().create_task(self._carry(submission), name=f"apprise:{self.name}")
            self._running[task] = submission
            task.add_done_callback(self._landed)

    def _too_late(self, submission: Submission) -> PartOutcome | None:
        if not self._up:
            return PartRetry(local_error("draining", "The provider is being stopped."))
        until_ms = submission.valid_until_ms
        return PartExpired() if until_ms is not None and until_ms <= self._clock() else None

    def _tell(self, submission: Submission, outcome: PartOutcome) -> None:
        self._sink.outcomes(self.name, [Outcome(submission.attempt_id, (outcome,), self._clock())])

    def links(self) -> tuple[Link, ...]:
        """One: the services are reached by calls."""
        state = "up" if self._up else "down"
        return (Link(kind="http", state=state, since_ms=self._since_ms, in_flight=len(self._running)),)

    def refuses(self, to: str, sender: str | None, content: Content, facts: Facts) -> MessageError | None:
        """A target that there is not."""
        if to in self._services:
            return None
        there = ", ".join(sorted(self._services))
        return MessageError(
            code="unknown_target", detail=f"provider {self.name} has no target {to!r}; there are: {there}"
        )

    async def _carry(self, submission: Submission) -> None:
        outcome: PartOutcome = PartUnknown("stopped")
        try:
            outcome = await self._say(submission)
        finally:
            self._tell(submission, outcome)

    async def _say(self, submission: Submission) -> PartOutcome:
        content, service = submission.content, self._services.get(submission.to)
        if service is None or not isinstance(content, OtherContent):
            return PartRetry(local_error("unknown_target", "The target is gone."))
        try:
            async with asyncio.timeout(self.config.response_timeout_s):
                went_out = await service.async_notify(
                    body=content.text, title=content.title or "", body_format=content.format
                )
        except TimeoutError:
            return PartUnknown("no_answer")
        except Exception:  # of a hundred plug-ins; its text may hold a URL
            return PartUnknown("internal")
        return PartSent(submission.attempt_id) if went_out else PartRetry(_FAILED)

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if self._up:
            self._sink.ready(self.name)
