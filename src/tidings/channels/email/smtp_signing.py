"""Mails made ready for the wire: at once, or, where they are signed with DKIM, in a few threads beside the event loop.

An RSA-2048 signature takes half a millisecond of processor time and lets go of the interpreter lock for it, so two threads
sign on two cores while the loop serves everybody else. A mail keeps its place among those that wait for a connection; it
leaves when it is signed. There are never more mails here than the provider has given credit for.
"""

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog

from tidings.channels.email.compose import Identity, Letter, Unsendable, letter
from tidings.channels.email.smtp_lanes import Finished, Made, Waiting
from tidings.channels.local_error import local_error
from tidings.domain.attempt import PartRefused, PartRetry, Submission
from tidings.domain.message import LANES, MessageError
from tidings.kit.limits import EMAIL_SIGN_S, EMAIL_SIGNERS
from tidings.protocols.smtp.data import BareLineBreak, transparent
from tidings.protocols.smtp.replies import Extensions

#: Handed to a thread beyond the one it works on, so that it need not wait for the loop; an urgent mail waits for these.
_AHEAD: Final = 1
_log = structlog.get_logger("tidings.channels.email.smtp")


def finished(submission: Submission, identity: Identity, now_ms: int, *, eight_bit: bool) -> Made:
    """The mail as it goes over the wire, signed; or why it cannot. Pure, so it may be called in any thread."""
    try:
        made = letter(submission, identity, now_ms, eight_bit=eight_bit)
        return Finished(made, transparent(made.data), eight_bit)
    except Unsendable as error:
        return PartRefused(error.error)
    except BareLineBreak as error:
        return PartRefused(MessageError(code="invalid_content", detail=str(error), spec="RFC 5321 §2.3.8"))


def impossible(made: Letter, extensions: Extensions) -> MessageError | None:
    """Why a server that offers this cannot carry the mail at all."""
    if made.internationalised and not {"SMTPUTF8", "8BITMIME"} <= extensions.keywords.keys():
        detail = "The mail server offers no SMTPUTF8, which an address that is not ASCII needs."
        return MessageError(code="unsupported_address", detail=detail, spec="RFC 6531 §3.2")
    if extensions.size and len(made.data) > extensions.size:
        detail = f"The mail has {len(made.data)} octets; the mail server takes {extensions.size}."
        return MessageError(code="message_too_large", detail=detail, spec="RFC 1870 §6.1")
    return None


class Threads:
    """The threads of this process, shared by all its providers, while any of them signs."""

    def __init__(self) -> None:
        self.size = max(1, min(EMAIL_SIGNERS, os.cpu_count() or 1))
        self._pool: ThreadPoolExecutor | None = None
        self._users = 0
        self._stuck = False
        self._lock = threading.Lock()

    def enter(self) -> ThreadPoolExecutor:
        """One provider more."""
        with self._lock:
            self._users += 1
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.size, thread_name_prefix="mail-sign")
            return self._pool

    def leave(self, *, idle: bool) -> None:
        """One fewer; the last one ends the threads. `idle`: nothing of it is at work, so they end at once."""
        with self._lock:
            self._users -= 1
            self._stuck = self._stuck or not idle
            if self._users == 0 and self._pool is not None:
                self._pool.shutdown(wait=not self._stuck, cancel_futures=True)
                self._pool, self._stuck = None, False


THREADS: Final = Threads()


class Signer:
    """`sign` makes a mail, in a thread; `signed` hears on the loop's thread that one is ready.

    Mails of an urgent lane come first, those of one lane in their order.
    """

    def __init__(self, sign: Callable[[Waiting], Made], signed: Callable[[], None], threads: Threads = THREADS) -> None:
        self._sign, self._signed, self._threads = sign, signed, threads
        self._queues: tuple[deque[Waiting], ...] = tuple(deque() for _ in LANES)
        self._at_work: dict[Waiting, Future[Made]] = {}
        self._pool: ThreadPoolExecutor | None = None

    @property
    def busy(self) -> bool:
        """Whether a mail will be ready soon."""
        return bool(self._at_work)

    def start(self) -> None:
        """Takes a share in the threads; each begins with its first mail."""
        if self._pool is None:
            self._pool = self._threads.enter()
            self._feed()

    def add(self, item: Waiting) -> None:
        """The item is not ready until it is signed."""
        item.made, item.ready = None, False
        self._queues[item.lane].append(item)
        self._feed()

    def forget(self) -> None:
        """Signs nothing of what waits here; what a thread works on comes to nothing."""
        for queue in self._queues:
            queue.clear()
        for work in self._at_work.values():
            work.cancel()  # if no thread has begun it

    async def stop(self) -> None:
        """Waits for what the threads work on, `EMAIL_SIGN_S` at most. The last provider ends them."""
        if self._pool is None:
            return
        self._pool = None
        self.forget()
        left = [asyncio.wrap_future(work) for work in self._at_work.values() if not work.done()]
        try:
            if left:
                await asyncio.wait(left, timeout=EMAIL_SIGN_S)
        finally:
            self._threads.leave(idle=all(work.done() for work in self._at_work.values()))

    def _feed(self) -> None:
        pool, loop = self._pool, asyncio.get_running_loop()
        while pool is not None and len(self._at_work) < self._threads.size * (1 + _AHEAD):
            queue = next((queue for queue in self._queues if queue), None)
            if queue is None:
                return
            item = queue.popleft()
            work = self._at_work[item] = pool.submit(self._sign, item)
            work.add_done_callback(lambda work, item=item: self._tell(loop, item, work))

    def _tell(self, loop: asyncio.AbstractEventLoop, item: Waiting, work: Future[Made]) -> None:
        """Called in the thread."""
        with contextlib.suppress(RuntimeError):  # a loop that was closed has nobody who waits
            loop.call_soon_threadsafe(self._back, item, work)

    def _back(self, item: Waiting, work: Future[Made]) -> None:
        del self._at_work[item]
        self._feed()
        if work.cancelled():
            return
        if (fault := work.exception()) is not None:
            _log.error("mail_not_made", attempt=item.submission.attempt_id, exc_info=fault)
            item.made = PartRetry(local_error("internal_error", "The mail could not be made."))
        else:
            item.made = work.result()
        item.ready = True
        self._signed()


__all__ = ["THREADS", "Signer", "Threads", "finished", "impossible"]
