"""The placeholders of an SMS over HTTP: its text, and what is on the air."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from tidings.channels.described.words import Words
from tidings.channels.sms.http_text import text_of
from tidings.domain.attempt import Submission
from tidings.protocols.gsm import udh

NAMES: Final = frozenset({"text_ucs2_hex", "data_hex", "udh_hex", "encoding"})


def words(said: Mapping[Literal["gsm", "ucs2"], str]) -> Words:
    """`said`: what the carrier calls gsm and ucs2."""
    return Words(names=NAMES, of=_of(said))


def _of(said: Mapping[Literal["gsm", "ucs2"], str]) -> Callable[[Submission, int], Mapping[str, str | None]]:
    def of(submission: Submission, index: int) -> Mapping[str, str | None]:
        text, parts = text_of(submission, index), len(submission.parts)
        encoding: Literal["gsm", "ucs2"] = "ucs2" if submission.data_coding == 8 else "gsm"
        header = udh.concat8(submission.concat_ref, parts, index + 1) if parts > 1 else b""
        return {
            "text": text,
            "text_ucs2_hex": text.encode("utf-16-be").hex().upper(),
            "data_hex": submission.parts[index].hex().upper(),
            "udh_hex": header.hex().upper() or None,
            "encoding": said.get(encoding, encoding),
        }

    return of
