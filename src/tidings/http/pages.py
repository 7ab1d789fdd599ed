"""Pages that never change, without the framework: a crowd that asks for the API reference keeps nobody else waiting.

What is not made yet goes the ordinary way, which makes it; a test compares every byte of the two.
"""

import time
from collections.abc import Callable

from tidings.http.edge import CLOSED, SECURITY, request_id_of
from tidings.http.messages_hot import Exchange, head_of
from tidings.http.metrics import Meter


class FixedPage:
    """`GET` of one page (`wire.Hot`). `content`: its body, None as long as nobody has made it; `template`: what metrics call it."""

    def __init__(
        self, meter: Meter, template: str, media: bytes, cache: bytes, csp: bytes | None, content: Callable[[], bytes | None]
    ) -> None:  # fmt: skip
        own = {b"cache-control": cache} if csp is None else {b"content-security-policy": csp, b"cache-control": cache}
        self._head = head_of([(b"content-type", media), *SECURITY, *(dict(CLOSED) | own).items()])
        self._meter, self._template, self._content = meter, template, content

    def take(self, exchange: Exchange, fields: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Answers, unless there is more to the request than its address."""
        started_s, content = time.perf_counter(), self._content()
        if body or content is None:
            return False
        given = next((value for name, value in fields if name == b"x-request-id"), None)
        request_id = request_id_of(given).encode("ascii")
        head = b"%bcontent-length: %d\r\nx-request-id: %b\r\n" % (self._head, len(content), request_id)
        exchange.reply(200, head, content)
        self._meter.observe("GET", self._template, 200, time.perf_counter() - started_s)
        return True
