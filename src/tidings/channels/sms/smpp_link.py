"""One link of a provider: connects, binds, stays, and comes back with growing pauses when it is lost."""

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from tidings.channels.contract import Link, LinkState
from tidings.channels.sms.smpp_config import BindKind, Config
from tidings.channels.sms.smpp_errors import status_of
from tidings.channels.sms.smpp_inbound import InboundReader
from tidings.channels.sms.smpp_session import Owner, SmppSession
from tidings.kit.clock import Clock
from tidings.protocols.smpp.constants import Status

#: A link that stayed up for so long starts again with the shortest pause.
STEADY_S: Final = 5.0
UNBIND_TIMEOUT_S: Final = 2.0
#: The password or the name is wrong: asking again only gets the account locked. Source: SMPP 3.4 §5.1.3.
_HOPELESS: Final = frozenset({Status.ESME_RINVPASWD, Status.ESME_RINVSYSID, Status.ESME_RINVSYSTYP})


class LinkOwner(Owner, Protocol):
    """Whom a link reports to: what a session tells, and the link's own ups and downs."""

    def link_up(self, session: SmppSession) -> None:
        """A session is bound."""
        ...

    def link_down(self, session: SmppSession) -> None:
        """It is over."""
        ...

    def link_changed(self, link: Link) -> None:
        """For the operator's eyes."""
        ...


class SmppLink:
    """Keeps one session alive. `run` ends after `stop`, or when the carrier refuses the password."""

    def __init__(
        self,
        owner: LinkOwner,
        kind: BindKind,
        config: Config,
        reader: InboundReader,
        *,
        clock: Clock,
        random: Random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._kind: BindKind = kind
        self._config = config
        self._reader = reader
        self._clock = clock
        self._random = random
        self._monotonic = monotonic
        self._state: LinkState = "down"
        self._since_ms = clock()
        self._last_error: str | None = None
        self._session: SmppSession | None = None
        self._stopping = asyncio.Event()
        self._late = 0
        self._deadline: asyncio.Timeout | None = None  # while connecting and binding

    def view(self) -> Link:
        """What an operator sees."""
        in_flight = len(self._session.pending) if self._session else 0
        return Link(
            kind=self._kind,
            state=self._state,
            since_ms=self._since_ms,
            in_flight=in_flight,
            last_error=self._last_error,
        )

    @property
    def late_answers(self) -> int:
        """Answers that came after their part was given up on; counted and ignored."""
        return self._late + (self._session.late_answers if self._session else 0)

    async def run(self) -> None:
        """Connects again and again until stopped."""
        failures = 0
        while not self._stopping.is_set():
            began = self._monotonic()
            status = await self._once()
            if status is not None and status in _HOPELESS:
                self._set("auth_failed", status_of(status).code)
                return
            if self._stopping.is_set():
                break
            failures = 0 if self._monotonic() - began >= STEADY_S and status is None else failures + 1
            pause_s = self._pause_s(failures, slow=status == Status.ESME_RBINDFAIL)
            self._set("backoff", self._last_error)
            try:
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            except TimeoutError:
                continue
        self._set("down", self._last_error)

    async def stop(self) -> None:
        """Unbinds, waits briefly for the answer, closes; `run` then ends."""
        self._stopping.set()
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())
        if self._session is not None:
            self._set("draining", self._last_error)
            await self._session.unbind(UNBIND_TIMEOUT_S)

    async def _once(self) -> int | None:
        """One connection, from connect to close. The status of a refused bind, else None."""
        config, loop = self._config, asyncio.get_running_loop()
        self._set("connecting", self._last_error)
        session = SmppSession(self._owner, self._kind, config, self._reader, self._monotonic)
        try:
            async with asyncio.timeout(config.bind_timeout_s) as self._deadline:
                await loop.create_connection(
                    lambda: session,
                    config.host,
                    config.port,
                    ssl=config.ssl_context(),
                    server_hostname=config.server_name,
                )
                status = await session.bind()
        except TimeoutError:
            session.abort("bind_timeout")
            if not self._stopping.is_set():
                self._last_error = f"no answer within {config.bind_timeout_s:g} s"
            return None
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            reason = error.strerror if isinstance(error, OSError) else None
            self._last_error = f"cannot connect: {reason or type(error).__name__}"
            return None
        finally:
            self._deadline = None
        if status is None:
            self._last_error = "closed while binding"
            return None
        if status:
            session.abort("bind refused")
            self._last_error = status_of(status).code
            return status
        await self._serve(session)
        return None

    async def _serve(self, session: SmppSession) -> None:
        self._session = session
        self._last_error = None
        self._set("up", None)
        self._owner.link_up(session)
        try:
            if self._stopping.is_set():
                await session.unbind(UNBIND_TIMEOUT_S)
            await session.serve_inbound()
            self._last_error = await session.closed
        finally:
            session.abort("stopped")
            self._late += session.late_answers
            self._session = None
            self._owner.link_down(session)

    def _pause_s(self, failures: int, *, slow: bool) -> float:
        config = self._config
        grown = config.reconnect_max_s if slow else config.reconnect_min_s * 2.0 ** min(failures, 30)
        top = min(config.reconnect_max_s, grown)
        return max(config.reconnect_min_s, self._random.uniform(top / 2, top))

    def _set(self, state: LinkState, error: str | None) -> None:
        self._last_error = error
        if state != self._state:
            self._state = state
            self._since_ms = self._clock()
            self._owner.link_changed(self.view())
