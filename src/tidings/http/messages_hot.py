"""`POST /v1/messages` without the framework: requests that arrive together are accepted together.

The connection (`wire.PatientProtocol`) hands over a request that came whole, in one piece; all other requests go the ordinary
way, through ASGI and Litestar. Both call the very functions of `accepting`; a test sends the same requests both ways and
compares every byte that is not an id or a time. What arrives in one turn of the event loop is one batch: one task, one write
to the store (docs/decisions/0014-hot-route.md).
"""

import asyncio
import time
from typing import Final, Protocol

from tidings.delivery.accept import Accepted, Want
from tidings.domain.errors import RequestError, StoreError
from tidings.domain.message import Mode
from tidings.http import accepting
from tidings.http.auth import Caller, Keys
from tidings.http.body import check_media
from tidings.http.edge import CLOSED, SECURITY, Load, problem_answer, request_id_of
from tidings.http.failures import FailureLog
from tidings.http.metrics import Meter
from tidings.http.problem import Headers
from tidings.http.ratelimit import POLICY
from tidings.http.services import Services
from tidings.kit.limits import REQUEST_UNIT_BYTES

_REPLAYED: Final = b"idempotency-replayed: true\r\n"


def head_of(headers: Headers) -> bytes:
    """Header fields as they are written."""
    return b"".join(b"%b: %b\r\n" % field for field in headers)


_FIXED: Final = head_of([(b"content-type", b"application/json"), *SECURITY, *CLOSED, (b"ratelimit-policy", POLICY)])


class Exchange(Protocol):
    """One request on its connection, to be answered once."""

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Writes the answer; `head`: its header fields, each with its line end."""
        ...


class _Asked:
    """A request and who made it; `want` once it was read."""

    __slots__ = ("caller", "exchange", "request_id", "started_s", "want")

    want: Want

    def __init__(self, exchange: Exchange, caller: Caller, request_id: str) -> None:
        self.exchange, self.caller, self.request_id = exchange, caller, request_id
        self.started_s = time.perf_counter()


class HotMessages:
    """The hot route. All calls come on the event loop's thread."""

    def __init__(self, services: Services, keys: Keys, meter: Meter, load: Load, failures: FailureLog) -> None:
        self._services, self._keys, self._meter, self._load, self._failures = services, keys, meter, load, failures
        self._waiting: dict[tuple[str, Mode], list[_Asked]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, exchange: Exchange, fields: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Answers the request, now or later. False: nothing was done, it has to go the ordinary way."""
        headers: dict[bytes, bytes] = dict(reversed(fields))  # of repeated ones the first counts
        caller = self._keys.known(headers.get(b"authorization"))
        if caller is None or b"content-length" not in headers or not 0 < len(body) <= REQUEST_UNIT_BYTES:
            return False
        asked = _Asked(exchange, caller, request_id_of(headers.get(b"x-request-id")))
        try:
            self._load.enter(None, chunked=False)  # one place: it is small
            try:
                asked.want = self._read(caller, headers, body)
            except BaseException:
                self._load.leave(1)
                raise
        except Exception as error:
            self._refuse(asked, error)
        else:
            self._wait(asked)
        return True

    def _read(self, caller: Caller, headers: dict[bytes, bytes], body: bytes) -> Want:
        self._keys.check(caller)
        caller.require(accepting.SCOPE)
        caller.bucket.take()
        check_media(headers.get(b"content-type"), headers.get(b"content-encoding"))
        return accepting.read_want(self._services, caller, body, headers.get(b"idempotency-key"))

    def _wait(self, asked: _Asked) -> None:
        caller = asked.caller
        group = self._waiting.get((caller.project, caller.mode))
        if group is not None:
            group.append(asked)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting[caller.project, caller.mode] = [asked]

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (project, mode), group in waiting.items():
            task = asyncio.get_running_loop().create_task(self._accept(project, mode, group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _accept(self, project: str, mode: Mode, group: list[_Asked]) -> None:
        try:
            answers = await self._services.acceptor.accept(project, mode, [asked.want for asked in group])
        except Exception as error:
            if len(group) > 1 and not isinstance(error, RequestError | StoreError):
                for asked in group:  # one of them is to blame: nothing was stored, and the others go on without it
                    await self._accept(project, mode, [asked])
                return
            self._load.leave(len(group))
            for asked in group:
                self._refuse(asked, error)
            return
        self._load.leave(len(group))
        for asked, answer in zip(group, answers, strict=True):
            if isinstance(answer, RequestError):
                self._refuse(asked, answer)
            else:
                self._accepted(asked, answer)

    def _accepted(self, asked: _Asked, accepted: Accepted) -> None:
        body = accepting.accepted_bytes(accepted)
        head = b"%bcontent-length: %d\r\nx-request-id: %b\r\nratelimit: %b\r\n%b" % (
            _FIXED, len(body), asked.request_id.encode("ascii"), asked.caller.bucket.header(),
            _REPLAYED if accepted.replayed else b"",
        )  # fmt: skip
        self._reply(asked, 202, head, body)

    def _refuse(self, asked: _Asked, error: Exception) -> None:
        self._failures.tell(error, asked.request_id, accepting.PATH)
        status, headers, body = problem_answer(error, asked.request_id, asked.caller)
        self._reply(asked, status, head_of(headers), body)

    def _reply(self, asked: _Asked, status: int, head: bytes, body: bytes) -> None:
        asked.exchange.reply(status, head, body)
        self._meter.observe("POST", accepting.PATH, status, time.perf_counter() - asked.started_s)
