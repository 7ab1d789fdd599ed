"""What a mail server's answer means for the mail. Pure."""

import re
from typing import Final

from tidings.domain.attempt import PartOutcome, PartRefused, PartRetry, PartSent
from tidings.domain.message import MessageError
from tidings.protocols.smtp.replies import Reply
from tidings.protocols.smtp.status import SPEC, Stage, meaning, throttles

#: What a server says may name people; what is kept beside a message may not.
_ADDRESS: Final = re.compile(r"[^\s<>()\[\]{},;:\"']+@[^\s<>()\[\]{},;:\"']+")


def without_addresses(text: str) -> str:
    """The text with every address taken out."""
    return _ADDRESS.sub("(address)", text)


def throttled(reply: Reply) -> bool:
    """Whether the server wants us slower; the mail is kept and sent again soon."""
    return throttles(reply.code, reply.enhanced)


def judge(reply: Reply, stage: Stage, ref: str, after_s: float) -> PartOutcome:
    """`ref` is our own id of the mail; `after_s` is when to come again after a refusal for now."""
    if reply.ok and stage == "mail":
        return PartSent(ref)
    final = reply.code // 100 == 5
    means = meaning(reply.code, reply.enhanced, stage)
    error = MessageError(
        code=means.code, detail=f"{means.detail} It says: {reply.code} {without_addresses(reply.text)}"[:600], permanent=final,
        retryable=not final, provider_code=reply.enhanced or str(reply.code), spec=SPEC if reply.enhanced else "RFC 5321",
    )  # fmt: skip
    if not final:
        return PartRetry(error, after_s)
    dead = means.dead and bool(reply.enhanced) and stage in ("RCPT", "mail")
    return PartRefused(error, suppress="bounced" if dead else None)
