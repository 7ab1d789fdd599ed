"""Looking before sending, stopping what has not left, and sending again."""

from typing import Any

import msgspec

from tidings.channels.contract import Provider
from tidings.delivery import stages
from tidings.delivery.accept import Want, message_of
from tidings.delivery.fleet import Fleet
from tidings.delivery.gather import gather
from tidings.delivery.job import Job
from tidings.delivery.router import Router
from tidings.domain.address import address_key
from tidings.domain.channel import CHANNELS
from tidings.domain.content import Content
from tidings.domain.errors import Conflict, InvalidRequest, NotFound
from tidings.domain.message import Fallback, Message, MessageError, Mode, Step, tried_now
from tidings.domain.request import Recipient, SendRequest
from tidings.domain.status import ENDS
from tidings.domain.view import StoredMessage
from tidings.kit.clock import Clock, rfc3339
from tidings.kit.ids import is_id, new_id
from tidings.kit.secrets import KeyRing
from tidings.policy.decide import Refuse, decide
from tidings.routing.choose import Choice
from tidings.store.store import Store


class Control:
    """What a customer may do with a message beside sending it."""

    def __init__(self, store: Store, ring: KeyRing, fleet: Fleet, router: Router, now: Clock) -> None:
        self._store, self._ring, self._fleet, self._router, self._now = store, ring, fleet, router, now

    async def get(self, project: str, message: str) -> StoredMessage:
        """The message. Raises NotFound."""
        found = (await self._store.messages.load(self._ring, project, [message])).get(message)
        if found is None:
            raise NotFound(f"there is no message {message} in this project")
        return found

    async def cancel(self, project: str, message: str) -> StoredMessage:
        """Ends a message that has not left. Raises NotFound, Conflict where it is too late."""
        before = await self.get(project, message)
        if before.message.status == "canceled":
            return before
        answer = await self._store.jobs.cancel(project, message, new_id("evt"), self._now())
        if answer == "canceled":
            return await self.get(project, message)
        status = (await self.get(project, message)).message.status
        raise Conflict(f"the message can no longer be canceled: it is {status}", code="too_late")

    async def retry_request(self, project: str, message: str) -> tuple[SendRequest, Mode]:
        """The request that sends it again. Raises NotFound, Conflict while it may still be delivered."""
        found = await self.get(project, message)
        status = found.message.status
        if status not in ENDS or status == "delivered":
            raise Conflict(f"only a message that ended without delivery can be retried; this one is {status}")
        sent = found.message
        if not sent.personal.to:
            raise Conflict("the recipient's data was erased; the message cannot be sent again", code="erased")
        if sent.reference is not None and is_id(sent.reference, "ver"):
            detail = f"the message has a one-time code; POST /v1/verifications/{sent.reference}/resend sends it again"
            raise Conflict(detail, code="verification")
        return _again(sent), sent.mode

    async def preview(self, project: str, mode: Mode, request: SendRequest) -> dict[str, Any]:
        """What would leave now: content, encoding, parts, decision and route. Sends nothing, stores nothing.

        Of several channels the first one is shown, and each of them below `channels`.
        """
        now_ms = self._now()
        message = message_of(project, mode, Want(request), now_ms)
        shown = await self._preview(message, now_ms)
        if message.chain is None:
            return shown
        later = [await self._preview(_on(message, step), now_ms) for step in message.personal.steps]
        return shown | {"channels": [shown, *later]}

    async def _preview(self, message: Message, now_ms: int) -> dict[str, Any]:
        """On one channel."""
        text = stages.render_text(message)
        if isinstance(text, MessageError):
            raise InvalidRequest(text.detail, code=text.code)
        choice = self._router.choice(message)
        provider = self._fleet.planner(choice.provider) if choice is not None else None
        answer: dict[str, Any] = {
            "channel": message.channel,
            "to": message.personal.to,
            "from": message.personal.sender,
            "text": text,
            "as_of": rfc3339(now_ms),
        }
        answer["route"] = None if choice is None else _route_view(choice)
        answer["decision"] = await self._decision(message, message.personal.to, now_ms)
        answer["estimated_cost"] = None
        if CHANNELS[message.channel].read is not None:
            answer |= await self._preview_content(message, text, provider, now_ms)
        elif provider is not None:
            answer |= _preview_parts(message, text, provider)
        if choice is not None and choice.provider in choice.costs:
            answer["estimated_cost"] = round(choice.costs[choice.provider] * answer["parts"], 6)
        return answer

    async def _preview_content(
        self, message: Message, text: str, provider: Provider | None, now_ms: int
    ) -> dict[str, Any]:
        content = stages.compose(message, text, CHANNELS[message.channel])
        if isinstance(content, MessageError):
            raise InvalidRequest(content.detail, code=content.code)
        shown: dict[str, Any] = {"text": text if message.personal.text is not None else None, "parts": 1}
        shown["content"] = _shown(content)
        if provider is None:
            return shown
        job = Job(message=message, to_hash=address_key(self._ring, message.personal.to))
        known = (await gather(self._store, self._ring, provider, [job], now_ms))[message.id]
        problem = stages.refused(message, content, provider, known.facts)
        if problem is not None:
            shown["decision"] = {"outcome": "refuse", "code": problem.code, "detail": problem.detail}
        return shown

    async def _decision(self, message: Message, to: str, now_ms: int) -> dict[str, Any]:
        decision = decide(message, now_ms)
        if isinstance(decision, Refuse):
            return {"outcome": "refuse", "code": decision.code, "detail": decision.detail}
        key = address_key(self._ring, to)
        found = await self._store.suppressions.get(self._ring, message.project, message.channel, key)
        if found is not None:
            return {"outcome": "refuse", "code": "suppressed", "detail": "the recipient is on the suppression list"}
        if message.due_ms > now_ms:
            return {"outcome": "defer", "code": "scheduled", "until": rfc3339(message.due_ms)}
        return {"outcome": "allow"}


def _on(message: Message, step: Step) -> Message:
    """The message as it is sent on a later channel."""
    personal = msgspec.structs.replace(
        message.personal, to=step.to, each=step.each, sender=step.sender, content=step.content, steps=()
    )
    return msgspec.structs.replace(message, channel=step.channel, personal=personal)


def _again(sent: Message) -> SendRequest:
    """What was asked for, without the times: a message of several channels begins with its first one again."""
    personal = sent.personal
    request = SendRequest(
        to=personal.to, channel=sent.channel, sender=personal.sender, text=personal.text, content=personal.content,
        data=personal.data, locale=sent.locale, lane=sent.lane, sequence=sent.sequence, on_unknown=sent.on_unknown,
        reference=sent.reference, tags=list(sent.tags), metadata=personal.metadata,
    )  # fmt: skip
    steps = (*personal.past, tried_now(sent), *personal.steps)
    if sent.chain is None or len(steps) == 1:
        return msgspec.structs.replace(request, to=_recipient(steps)) if personal.each else request
    return msgspec.structs.replace(
        request,
        to=_recipient(steps),
        channel=None,
        channels=[step.channel for step in steps],
        sender={step.channel: step.sender for step in steps if step.sender is not None} or None,
        content={step.channel: step.content for step in steps if step.content is not None} or None,
        fallback=msgspec.convert({"after_s": sent.chain.after_s, "on": list(sent.chain.on)}, Fallback),
    )


def _recipient(steps: tuple[Step, ...]) -> Recipient:
    found: dict[str, Any] = {}
    for step in steps:
        rules = CHANNELS[step.channel]
        found[rules.fields[0]] = list(step.each or (step.to,)) if rules.several > 1 else step.to
    return Recipient(**found)


def _route_view(choice: Choice) -> dict[str, Any]:
    return {
        "name": choice.route or None,
        "provider": choice.provider,
        "alternatives": list(choice.others),
        "cost_per_part": choice.costs.get(choice.provider),
    }


def _preview_parts(message: Message, text: str, provider: Provider) -> dict[str, Any]:
    try:
        segments = stages.plan(message, text, provider)
    except stages.PLAN_ERRORS as error:
        raise InvalidRequest(str(error), code="unencodable") from error
    return {
        "text": None if message.personal.text is None else segments.text,
        "encoding": segments.encoding,
        "parts": len(segments.parts),
        "units": segments.units,
        "substitutions": [{"from": old, "to": new} for old, new in segments.substitutions],
    }


def _shown(content: Content) -> dict[str, Any]:
    """The content without the octets of its attachments."""
    shown: dict[str, Any] = msgspec.to_builtins(content)
    for file in shown.get("attachments", ()):
        file.pop("data", None)
    return shown
