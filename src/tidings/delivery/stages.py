"""The stages between the lease and the wire. Each is one function over one message; none calls another."""

from typing import Protocol

from tidings.delivery.job import Job, Prepared
from tidings.domain.message import Message, MessageError
from tidings.policy.decide import Decision, decide
from tidings.protocols.gsm.alphabet import GsmEncodeError
from tidings.protocols.gsm.segments import SegmentError, Segments
from tidings.templates.render import TemplateError, render

#: What `Provider.plan` may raise.
PLAN_ERRORS = (GsmEncodeError, SegmentError)


class Planner(Protocol):
    """The provider's pure part: how it would cut a text."""

    def plan(self, text: str) -> Segments:
        """Raises the typed errors of `protocols.gsm`."""
        ...


def render_text(message: Message) -> str | MessageError:
    """The text as it leaves: literal, or Liquid where the request had `data`."""
    personal = message.personal
    text = personal.text or ""
    if personal.data is None:
        return text
    try:
        rendered = render(text, personal.data)
    except TemplateError as error:
        return MessageError(code=error.code, detail=error.detail)
    if not rendered:
        return MessageError(code="empty_content", detail="the template gave an empty text")
    return rendered


def decide_now(job: Job, now_ms: int) -> Decision:
    """Policy's word on the job at this moment."""
    return decide(job.message, now_ms)


def prepare(job: Job, text: str, provider: Planner) -> Prepared | MessageError:
    """The text cut into parts as the provider sends them. Nothing is replaced by `?`, nothing cut off."""
    try:
        segments = provider.plan(text)
    except PLAN_ERRORS as error:
        return MessageError(code="unencodable", detail=str(error), spec="3GPP TS 23.038")
    return Prepared(job=job, segments=segments, encoding=segments.encoding)
