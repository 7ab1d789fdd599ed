"""POSTs over kept connections: when a connection is used again, when a call is made again, and what may not get in."""

import asyncio

import pytest

from listening import Listening
from tidings.kit.outbound import Answer, Guard, Outbound
from tidings.kit.posting import request_bytes

PATIENCE_S = 30
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Script:
    """What each connection does with each request: bytes to answer, None to close without a word."""

    def __init__(self, *connections: list[bytes | None]) -> None:
        self.connections = list(connections)
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in self.connections.pop(0):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            self.bodies.append(await reader.readexactly(length))
            if reply is None:
                break
            writer.write(reply)
            await writer.drain()
        writer.close()


async def _posts(script: Script, count: int, pause_s: float = 0.0) -> list[Answer]:
    async with Listening(script.serve) as port:
        client = Outbound(Guard(allow=("127.0.0.1/32",)), timeout_s=PATIENCE_S)
        answers = list[Answer]()
        for n in range(count):
            answers.append(await client.post(f"http://127.0.0.1:{port}/", {}, b"%d" % n))
            await asyncio.sleep(pause_s)
        await client.close()
        return answers


async def test_an_idle_connection_that_was_closed_costs_no_call() -> None:
    script = Script([OK, None], [OK])
    assert await _posts(script, 2) == [Answer(200), Answer(200)]
    assert script.bodies == [b"0", b"1", b"1"]


async def test_a_fresh_connection_that_says_nothing_is_no_answer() -> None:
    script = Script([None], [OK])
    answers = await _posts(script, 1)
    assert answers[0].status is None
    assert script.bodies == [b"0"], "it may have been taken: trying again is the pump's business"


ANSWERS: list[tuple[str, list[bytes | None], Answer]] = [
    ("interim", [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK], Answer(200)),
    ("no body", [b"HTTP/1.1 204 No Content\r\n\r\n"], Answer(204)),
    ("chunked", [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], Answer(200)),
    ("to its end", [b"HTTP/1.0 200 OK\r\n\r\nbody"], Answer(200)),
    ("cut off in its body", [b"HTTP/1.1 500 X\r\ncontent-length: 9\r\n\r\nab"], Answer(500)),
    ("not HTTP", [b"220 mail.example.com ESMTP\r\n"], Answer(None, "the answer is not HTTP")),
]


@pytest.mark.parametrize(("replies", "expected"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
async def test_the_status_of_an_answer(replies: list[bytes | None], expected: Answer) -> None:
    assert await _posts(Script(replies), 1) == [expected]


async def test_an_answer_that_nobody_asked_for_answers_no_later_call() -> None:
    """Response smuggling: the second answer is there before the second request."""
    script = Script([OK + b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"], [OK])
    assert await _posts(script, 2, pause_s=0.05) == [Answer(200), Answer(200)]


async def test_a_field_with_a_line_end_is_never_written() -> None:
    script = Script([OK])
    async with Listening(script.serve) as port:
        client = Outbound(Guard(allow=("127.0.0.1/32",)), timeout_s=PATIENCE_S)
        for value in ("a\r\nx-evil: 1", "a\nx-evil: 1", "a\rx"):
            answer = await client.post(f"http://127.0.0.1:{port}/", {"webhook-id": value}, b"")
            assert (answer.status, script.bodies) == (None, [])
        await client.close()


def test_a_request_as_it_is_written() -> None:
    assert request_bytes(b"POST / HTTP/1.1\r\nHost: a\r\n", {"x": "y"}, b"{}") == (
        b"POST / HTTP/1.1\r\nHost: a\r\nx: y\r\nContent-Length: 2\r\n\r\n{}"
    )
