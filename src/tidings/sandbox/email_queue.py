"""The simulator's queue of reports and replies to our own mail server: one connection, tried again as mail systems do."""

import asyncio
import contextlib
import heapq
from typing import Final, NamedTuple

import aiosmtplib

#: More than this are dropped and counted: it is a simulator.
QUEUED: Final = 10_000
TRIES: Final = 8
_SEND_S: Final = 10.0
_IDLE_S: Final = 1.0


class _Report(NamedTuple):
    due: float  # of the event loop's clock
    n: int
    tries: int
    sender: str
    to: str
    mail: bytes


class ReportQueue:
    """Sends to `inbound` (host, port); without it everything is dropped."""

    def __init__(self) -> None:
        self.inbound: tuple[str, int] | None = None
        self.dropped = 0
        self._heap: list[_Report] = []
        self._more = asyncio.Event()
        self._count = 0
        self._worker: asyncio.Task[None] | None = None
        self._stopping = False
        self._client: aiosmtplib.SMTP | None = None

    def start(self) -> None:
        """Begins in the background."""
        self._worker = asyncio.get_running_loop().create_task(self._work(), name="sandbox-reports")

    async def stop(self) -> None:
        """Lets the one under way end; what waits is dropped."""
        self._stopping = True
        self._more.set()
        if self._worker is not None:
            await asyncio.wait([self._worker], timeout=_SEND_S)
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    def add(self, sender: str, to: str, mail: bytes, after_s: float, tries: int = 0) -> None:
        """Queues a mail."""
        if self.inbound is None or len(self._heap) >= QUEUED or tries >= TRIES:
            self.dropped += 1
            return
        self._count += 1
        due = asyncio.get_running_loop().time() + after_s
        heapq.heappush(self._heap, _Report(due, self._count, tries, sender, to, mail))
        self._more.set()

    async def _work(self) -> None:
        try:
            while not self._stopping:
                wait_s = self._heap[0].due - asyncio.get_running_loop().time() if self._heap else _IDLE_S
                if self._heap and wait_s <= 0:
                    await self._send(heapq.heappop(self._heap))
                    continue
                self._more.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._more.wait()
                if not self._heap:
                    await self._hang_up()
        finally:
            await self._hang_up()

    async def _send(self, report: _Report) -> None:
        try:
            client = self._client or await self._connected()
            await client.sendmail(report.sender, [report.to], report.mail)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            await self._hang_up()
            if isinstance(error, aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPResponseException) and _final(error):
                self.dropped += 1
            else:
                self.add(report.sender, report.to, report.mail, 0.05 * 2**report.tries, report.tries + 1)

    async def _connected(self) -> aiosmtplib.SMTP:
        host, port = self.inbound or ("", 0)
        client = aiosmtplib.SMTP(
            hostname=host, port=port, timeout=_SEND_S, start_tls=False, local_hostname="mx.sandbox.test"
        )
        await client.connect()
        self._client = client
        return client

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _final(error: aiosmtplib.SMTPException) -> bool:
    """Whether trying again is in vain."""
    refused = error.recipients if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else [error]
    return all(isinstance(one, aiosmtplib.SMTPResponseException) and one.code >= 500 for one in refused)
