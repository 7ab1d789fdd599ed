"""The stages between the lease and the wire. Each is one function over one message; none calls another."""

from tidings.channels.contract import Provider
from tidings.channels.sms.content import plan_content
from tidings.delivery.job import Job, Prepared
from tidings.domain.message import Message, MessageError
from tidings.domain.sms import read_sms
from tidings.policy.decide import Decision, decide
from tidings.protocols.gsm.alphabet import GsmEncodeError
from tidings.protocols.gsm.segments import SegmentError, Segments
from tidings.templates.render import TemplateError, render

#: What `Provider.plan` may raise.
PLAN_ERRORS = (GsmEncodeError, SegmentError)


def render_text(message: Message) -> str | MessageError:
    """The text as it leaves: literal, or Liquid where the request had `data`."""
    personal = message.personal
    text = personal.text
    if personal.data is None or text is None:
        return text or ""
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


def plan(message: Message, text: str, provider: Provider) -> Segments:
    """How the provider will encode and cut what the message says. Pure. Raises PLAN_ERRORS."""
    content = message.personal.content
    return provider.plan(text) if content is None else plan_content(provider, text, read_sms(content))


def prepare(job: Job, text: str, provider: Provider) -> Prepared | MessageError:
    """The text cut into parts as the provider sends them. Nothing is replaced by `?`, nothing cut off."""
    try:
        segments = plan(job.message, text, provider)
    except PLAN_ERRORS as error:
        return MessageError(code="unencodable", detail=str(error), spec="3GPP TS 23.038")
    return Prepared(job=job, segments=segments, encoding=segments.encoding)
