"""A mail server that does exactly what a test says, and keeps every octet that it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

#: What to do at a step: answer with this (several lines joined by \n), or `None`: close the line. `...`: never answer.
Answer = str | None
OFFERS = "250-hi\n250-PIPELINING\n250-8BITMIME\n250-SMTPUTF8\n250-SIZE 100000\n250-DSN\n250-STARTTLS\n250 ENHANCEDSTATUSCODES"


class ScriptedServer:
    """`script` holds answers by step (GREET, EHLO, MAIL, RCPT, DATA, END, RSET, …); each is used once, then the usual one."""

    def __init__(self, context: ssl.SSLContext | None = None, *, offers: str = OFFERS) -> None:
        self.script: dict[str, list[Answer]] = {}
        self.offers, self._context = offers, context
        self.commands: list[str] = []
        self.mails: list[bytes] = []
        self.groups: list[bytes] = []  # what came in one piece
        self.lines = 0
        self.behind_starttls = b""
        self.gate: asyncio.Event | None = None  # ends of mails are answered when it is set
        self.held: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.lines += 1
        self.held.append(writer)
        try:
            if not await self._say(writer, "GREET", "220 hi"):
                return
            while line := await reader.readline():
                command = line.decode().strip()
                self.commands.append(command)
                word = command.split(" ")[0].split(":")[0].upper()
                if not await self._do(word, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _do(self, word: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        usual = {"EHLO": self.offers, "DATA": "354 go", "STARTTLS": "220 go", "QUIT": "221 bye"}.get(
            word, "250 2.0.0 OK"
        )
        said = await self._say(writer, word, usual)
        if said.startswith("354"):
            mail = await reader.readuntil(b"\r\n.\r\n") if await self._more(reader) else b""
            self.mails.append(mail.removesuffix(b".\r\n"))
            if self.gate is not None:
                await self.gate.wait()
            return bool(
                await self._say(writer, "END" if mail else "EMPTY", "250 2.0.0 Kept" if mail else "554 5.5.1 nobody")
            )
        if word == "STARTTLS" and said.startswith("220") and self._context is not None:
            if self.behind_starttls:
                return True
            await writer.start_tls(self._context)
        return bool(said) and word != "QUIT"

    async def _more(self, reader: asyncio.StreamReader) -> bool:
        """False for a mail that is only its end."""
        first = await reader.readexactly(3)
        if first == b".\r\n":
            return False
        reader._buffer[:0] = first  # pyright: ignore  # put back what was looked at
        return True

    async def _say(self, writer: asyncio.StreamWriter, step: str, usual: str) -> str:
        waiting = self.script.get(step)
        said = waiting.pop(0) if waiting else usual
        if said is None:
            return ""
        if said == "...":
            await asyncio.sleep(60)
        extra = self.behind_starttls if step == "STARTTLS" else b""
        writer.write(said.replace("\n", "\r\n").encode() + b"\r\n" + extra)
        await writer.drain()
        return said


@asynccontextmanager
async def scripted(
    context: ssl.SSLContext | None = None, *, implicit: bool = False, offers: str = OFFERS
) -> AsyncIterator[tuple[ScriptedServer, int]]:
    """The server and its port on 127.0.0.1."""
    made = ScriptedServer(context, offers=offers)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await made.serve(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=1 << 24, ssl=context if implicit else None)
    try:
        yield made, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in made.held:
            writer.transport.abort()
        await asyncio.sleep(0)


__all__ = ["OFFERS", "Callable", "ScriptedServer", "scripted"]
