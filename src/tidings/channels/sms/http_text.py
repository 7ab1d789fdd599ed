"""The text of a message for carriers that take characters, not octets, and cut it themselves."""

from math import ceil
from typing import Final

from tidings.domain.attempt import Submission
from tidings.protocols.gsm import alphabet, segments
from tidings.protocols.gsm.segments import Encoding, SegmentError, Segments

_UCS2: Final = 8
#: data_coding → (octets or septets of a message alone, of one segment of several). Source: TS 23.040 §9.2.3.24.1
_SIZES: Final[dict[int, tuple[int, int]]] = {0: (160, 153), _UCS2: (140, 134)}


def plan_whole(text: str, *, smart: bool, encoding: Encoding = "auto", most_chars: int) -> Segments:
    """One part, however long: the carrier cuts it. Raises `SegmentError` and `GsmEncodeError`."""
    if len(text) > most_chars:
        raise SegmentError(f"the text has {len(text)} characters; this carrier takes {most_chars}")
    return joined(segments.plan(text, smart=smart, encoding=encoding))


def joined(plan: Segments) -> Segments:
    """The same plan in one part."""
    if len(plan.parts) == 1:
        return plan
    return Segments(
        encoding=plan.encoding, data_coding=plan.data_coding, parts=(b"".join(plan.parts),), units=plan.units,
        text=plan.text, substitutions=plan.substitutions, header=plan.header,
    )  # fmt: skip


def text_of(submission: Submission, index: int) -> str:
    """The characters of a part. What `plan` encoded comes back as it was."""
    data = submission.parts[index]
    return data.decode("utf-16-be") if submission.data_coding == _UCS2 else alphabet.decode(data)


def segments_of(submission: Submission, index: int) -> int:
    """How many segments the carrier makes of a part."""
    size = len(submission.parts[index])
    alone, each = _SIZES[_UCS2 if submission.data_coding == _UCS2 else 0]
    return 1 if size <= alone else ceil(size / each)
