"""Looking before sending, stopping what has not left, and sending again."""

from typing import Any

from tidings.delivery import stages
from tidings.delivery.fleet import Fleet
from tidings.domain.errors import Conflict, InvalidRequest, NotFound
from tidings.domain.message import Message, MessageError, Mode, Personal
from tidings.domain.request import SendRequest, address_of, millis
from tidings.domain.status import ENDS
from tidings.domain.view import StoredMessage
from tidings.kit.clock import Clock, rfc3339
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing
from tidings.policy.decide import Refuse, decide
from tidings.routing.choose import candidates
from tidings.store.store import Store


class Control:
    """What a customer may do with a message beside sending it."""

    def __init__(self, store: Store, ring: KeyRing, fleet: Fleet, now: Clock) -> None:
        self._store, self._ring, self._fleet, self._now = store, ring, fleet, now

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
        personal = found.message.personal
        if not personal.to:
            raise Conflict("the recipient's data was erased; the message cannot be sent again", code="erased")
        request = SendRequest(
            to=personal.to,
            channel=found.message.channel,
            sender=personal.sender,
            text=personal.text,
            content=personal.content,
            data=personal.data,
            locale=found.message.locale,
            lane=found.message.lane,
            sequence=found.message.sequence,
            on_unknown=found.message.on_unknown,
            reference=found.message.reference,
            tags=list(found.message.tags),
            metadata=personal.metadata,
        )
        return request, found.message.mode

    async def preview(self, project: str, mode: Mode, request: SendRequest) -> dict[str, Any]:
        """What would leave now: text, encoding, parts, decision and route. Sends nothing, stores nothing."""
        now_ms = self._now()
        to = address_of(request) or ""
        message = _message(project, mode, request, to, now_ms)
        text = stages.render_text(message)
        if isinstance(text, MessageError):
            raise InvalidRequest(text.detail, code=text.code)
        names = candidates(self._fleet.candidates(), project, mode, "sms")
        provider = self._fleet.planner(names[0]) if names else None
        answer: dict[str, Any] = {
            "channel": "sms",
            "to": to,
            "from": request.sender,
            "text": text,
            "as_of": rfc3339(now_ms),
        }
        answer["route"] = {"provider": names[0], "alternatives": names[1:]} if names else None
        answer["decision"] = await self._decision(message, to, now_ms)
        answer["estimated_cost"] = None
        if provider is None:
            return answer
        try:
            segments = stages.plan(message, text, provider)
        except stages.PLAN_ERRORS as error:
            raise InvalidRequest(str(error), code="unencodable") from error
        answer["text"] = None if message.personal.text is None else segments.text
        answer["encoding"] = segments.encoding
        answer["parts"] = len(segments.parts)
        answer["units"] = segments.units
        answer["substitutions"] = [{"from": old, "to": new} for old, new in segments.substitutions]
        return answer

    async def _decision(self, message: Message, to: str, now_ms: int) -> dict[str, Any]:
        decision = decide(message, now_ms)
        if isinstance(decision, Refuse):
            return {"outcome": "refuse", "code": decision.code, "detail": decision.detail}
        found = await self._store.suppressions.get(self._ring, message.project, "sms", self._ring.lookup(to))
        if found is not None:
            return {"outcome": "refuse", "code": "suppressed", "detail": "the recipient is on the suppression list"}
        if message.due_ms > now_ms:
            return {"outcome": "defer", "code": "scheduled", "until": rfc3339(message.due_ms)}
        return {"outcome": "allow"}


def _message(project: str, mode: Mode, request: SendRequest, to: str, now_ms: int) -> Message:
    due_ms = max(now_ms, millis(request.send_at) or 0)
    personal = Personal(to=to, sender=request.sender, text=request.text, content=request.content, data=request.data)
    return Message(
        id="", project=project, mode=mode, channel="sms", lane=request.lane, created_ms=now_ms, due_ms=due_ms,
        personal=personal, valid_until_ms=millis(request.valid_until),
    )  # fmt: skip
