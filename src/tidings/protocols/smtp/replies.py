"""Replies of a mail server, and what it says that it can do. Sans I/O.

Source: RFC 5321 §4.2 (replies), §4.1.1.1 (EHLO); RFC 2034, RFC 3463 (enhanced status codes)
"""

import re
from typing import Final

import msgspec

#: Longer lines and replies of more lines are no mail server's. Source: RFC 5321 §4.5.3.1.5 (512 octets)
LINE_OCTETS: Final = 8_192
LINES: Final = 256
_ENHANCED: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?: |$)")


class ReplyError(ValueError):
    """What came is no reply."""


class Reply(msgspec.Struct, frozen=True):
    """A whole reply: its code and the text of every line."""

    code: int
    lines: tuple[str, ...]

    @property
    def enhanced(self) -> str:
        """The enhanced status code, `5.1.1`; empty without one, or if it contradicts the code."""
        found = _ENHANCED.match(self.lines[0])
        return found[0].strip() if found and int(found[1]) == self.code // 100 else ""

    @property
    def text(self) -> str:
        """All lines, without the enhanced status code."""
        return " ".join(_ENHANCED.sub("", line, count=1).strip() for line in self.lines)[:500]

    @property
    def ok(self) -> bool:
        """A 2xx."""
        return 200 <= self.code < 300


class ReplyReader:
    """Octets in, replies out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._code = 0

    @property
    def empty(self) -> bool:
        """Whether nothing has come that is not part of a reply already given out."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are whole now. Raises ReplyError."""
        self._buffer += data
        found: list[Reply] = []
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            reply = self._take(line)
            if reply is not None:
                found.append(reply)
        if len(self._buffer) > LINE_OCTETS:
            raise ReplyError("a line without end")
        return found

    def _take(self, line: bytes) -> Reply | None:
        code, mark, text = line[:3], line[3:4], line[4:]
        if not code.isdigit() or mark not in (b"", b" ", b"-") or not 200 <= int(code) < 600:
            raise ReplyError("a line that does not begin with a code")
        if self._lines and int(code) != self._code:
            raise ReplyError("a reply with two codes")
        if len(self._lines) >= LINES:
            raise ReplyError("a reply without end")
        self._code = int(code)
        self._lines.append(text.decode("utf-8", "replace"))
        if mark == b"-":
            return None
        reply = Reply(self._code, tuple(self._lines))
        self._lines.clear()
        return reply


class Extensions(msgspec.Struct, frozen=True):
    """What the server offered after EHLO."""

    keywords: dict[str, tuple[str, ...]] = {}

    @classmethod
    def of(cls, reply: Reply) -> "Extensions":
        """From the reply to EHLO, whose first line is a greeting."""
        found: dict[str, tuple[str, ...]] = {}
        for line in reply.lines[1:]:
            words = line.replace("=", " ", 1).split() if line.upper().startswith("AUTH=") else line.split()
            if words:
                found[words[0].upper()] = (*found.get(words[0].upper(), ()), *(word.upper() for word in words[1:]))
        return cls(found)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    @property
    def size(self) -> int:
        """The largest mail, in octets; 0: it does not say. Source: RFC 1870 §3"""
        given = self.keywords.get("SIZE", ())
        return int(given[0]) if given and given[0].isdigit() and len(given[0]) < 16 else 0

    @property
    def mechanisms(self) -> frozenset[str]:
        """Of AUTH. Source: RFC 4954 §3"""
        return frozenset(self.keywords.get("AUTH", ()))
