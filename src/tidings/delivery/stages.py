"""The stages between the lease and the wire. Each is one function over one message; none calls another."""

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from tidings.channels.contract import Facts, Provider, Refuser, TextPlanner
from tidings.channels.sms.content import plan_content
from tidings.delivery.gather import Gathered
from tidings.delivery.job import Job, Prepared
from tidings.domain.channel import CHANNELS, Rules, says_all
from tidings.domain.content import Content
from tidings.domain.message import Message, MessageError
from tidings.domain.sms import read_sms
from tidings.policy.decide import Decision, decide
from tidings.protocols.gsm.alphabet import GsmEncodeError
from tidings.protocols.gsm.segments import SegmentError, Segments
from tidings.templates import email_html
from tidings.templates.fill import fill
from tidings.templates.render import TemplateError, render

#: What is done to a content behind Liquid, by channel. Raises TemplateError.
_FINISH: Final[dict[str, Callable[[Any], Any]]] = {"email": email_html.finish}
#: What `TextPlanner.plan` may raise.
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
    if content is None:
        return cast("TextPlanner", provider).plan(text)
    return plan_content(provider, text, read_sms(content))


def prepare(job: Job, text: str, provider: Provider, known: Gathered | None = None) -> Prepared | MessageError:
    """What the provider is to say. An SMS is cut into parts: nothing is replaced by `?`, nothing cut off."""
    if known is not None:
        return _prepare_content(job, text, provider, known)
    try:
        segments = plan(job.message, text, provider)
    except PLAN_ERRORS as error:
        return MessageError(code="unencodable", detail=str(error), spec="3GPP TS 23.038")
    return Prepared(job=job, segments=segments, encoding=segments.encoding)


def compose(message: Message, text: str, rules: Rules) -> Content | MessageError:
    """The typed content as it leaves, of a channel other than SMS."""
    personal, read = message.personal, rules.read
    assert read is not None
    content = personal.content
    said = text if personal.text is not None else None
    try:
        if personal.data is not None:
            content = fill(content or {}, personal.data, rules.liquid, rules.html)
        if message.chain is not None and says_all(message.channel, content):
            said = None
        bad = rules.problems(content, said) if personal.data is not None else ()
        if bad:  # what was merged in
            return MessageError(code="invalid_content", detail=f"{bad[0].pointer}: {bad[0].detail}")
        finish = _FINISH.get(message.channel)
        made = read(content, said)
        return finish(made) if finish is not None else made
    except TemplateError as error:
        return MessageError(code=error.code, detail=error.detail)
    except msgspec.ValidationError as error:
        return MessageError(code="invalid_content", detail=str(error))


def refused(message: Message, content: Content, provider: Provider, facts: Facts) -> MessageError | None:
    """What the provider's channel forbids."""
    if not isinstance(provider, Refuser):
        return None
    return provider.refuses(message.personal.to, message.personal.sender, content, facts)


def _prepare_content(job: Job, text: str, provider: Provider, known: Gathered) -> Prepared | MessageError:
    message = job.message
    content = compose(message, text, CHANNELS[message.channel])
    if isinstance(content, MessageError):
        return content
    problem = refused(message, content, provider, known.facts)
    if problem is not None:
        return problem
    each = tuple(token for token in message.personal.each if token not in known.left_out)
    if message.personal.each and not each:
        return MessageError(code="suppressed", detail="all devices of the recipient are suppressed")
    if len(each) < len(message.personal.each):
        left = msgspec.structs.replace(message.personal, to=each[0], each=each)
        job = msgspec.structs.replace(job, message=msgspec.structs.replace(message, personal=left))
    return Prepared(job=job, content=content, each=each)
