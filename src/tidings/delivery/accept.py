"""Accepting: from a checked request to a durable message. After this returns, the message survives power loss."""

from typing import NamedTuple, Protocol

import msgspec

from tidings.delivery.job import Job, Ready
from tidings.domain.address import address_key
from tidings.domain.channel import CHANNELS
from tidings.domain.errors import (
    FieldError,
    IdempotencyReused,
    InvalidRequest,
    Overloaded,
    RequestError,
    StoreError,
    StoreFull,
)
from tidings.domain.message import LANE_NUMBER, Chain, Fallback, Message, Mode, Personal, Step
from tidings.domain.request import SendRequest, addresses, channels_of, content_for, millis, sender_for
from tidings.kit.clock import Clock
from tidings.kit.ids import new_id
from tidings.kit.limits import ACCEPT_PENDING, LEASE_S
from tidings.kit.secrets import KeyRing
from tidings.store.contract import Accepted as StoreAccepted
from tidings.store.contract import NewMessage
from tidings.store.sealed import encode_personal
from tidings.store.store import Store
from tidings.templates.fill import unparsable
from tidings.templates.render import TemplateError, parse


class Idempotency(msgspec.Struct, frozen=True):
    """Hash of the caller's key, and of the body it came with."""

    key_hash: str
    body_hash: str


class Want(msgspec.Struct, frozen=True):
    """One message that is wanted. The request was checked (`domain.request.check`)."""

    request: SendRequest
    idempotency: Idempotency | None = None
    retry_of: str | None = None


class Accepted(msgspec.Struct, frozen=True):
    """It is durable. `replayed`: an earlier request with this key made it."""

    id: str
    status: str
    channel: str
    replayed: bool
    created_ms: int


class Desk(Protocol):
    """The dispatcher, as far as accepting needs it: who carries what, and whether there is room this very moment."""

    owner: str

    def hint(self, project: str, mode: Mode, channel: str) -> str | None:
        """The only provider of a channel, '' if there are several; None if there is none."""
        ...

    def carrier(self, message: Message) -> str | None:
        """The provider that carries it as things stand; None if there is none."""
        ...

    def reserve(self, provider: str, lane: int) -> bool:
        """Takes one place at an idle provider; `hand` or `unreserve` must follow."""
        ...

    def unreserve(self, provider: str) -> None:
        """Gives the place back."""
        ...

    def first_attempt(self, provider: str, job: Job) -> Ready | None:
        """The job's first attempt, to be stored in the accepting commit; None if it has to go the ordinary way."""
        ...

    def launch(self, provider: str, ready: Ready, concat_ref: int) -> None:
        """Sends an attempt that was stored in the accepting commit."""
        ...

    def ended(self, provider: str) -> None:
        """The message came to its end in its accepting commit; gives the place back."""
        ...

    def hand(self, provider: str, job: Job) -> None:
        """Hands over a job that was leased in its accepting commit."""
        ...

    def wake(self, provider: str) -> None:
        """There are new jobs in the store."""
        ...


class Acceptor:
    """The one way in: for customers, and for every subscriber that sends."""

    def __init__(self, store: Store, ring: KeyRing, desk: Desk, now: Clock) -> None:
        self._store, self._ring, self._desk, self._now = store, ring, desk, now
        self._waiting = 0

    async def accept(self, project: str, mode: Mode, wants: list[Want]) -> list[Accepted | RequestError]:
        """Accepts each on its own; a refused one leaves no trace. Raises Overloaded before anything is queued, StoreFull."""
        if self._waiting + len(wants) > ACCEPT_PENDING:
            raise Overloaded("too many messages wait for the disk; try again", status=503, retry_after_s=1)
        now_ms = self._now()
        answers: list[Accepted | RequestError | None] = []
        made_rows: list[_Made] = []
        for want in wants:
            made = self._make(project, mode, want, now_ms)
            if isinstance(made, RequestError):
                answers.append(made)
                continue
            answers.append(None)
            made_rows.append(made)
        stored = await self._keep([made.row for made in made_rows])
        results = iter(zip(made_rows, stored, strict=True))
        return [answer if answer is not None else self._answer(*next(results)) for answer in answers]

    async def _keep(self, rows: list[NewMessage]) -> list[StoreAccepted]:
        self._waiting += len(rows)
        try:
            try:
                return await self._store.accepting.accept(rows)
            except Exception as error:
                plain = _without_attempts(rows, error)
                if plain is None:
                    raise
                return await self._store.accepting.accept(plain)
        except BaseException:
            for row in rows:
                if row.owner is not None:
                    self._desk.unreserve(row.provider)
            raise
        finally:
            self._waiting -= len(rows)

    def _make(self, project: str, mode: Mode, want: Want, now_ms: int) -> "_Made | RequestError":
        problem = _template_problem(want.request)
        if problem is not None:
            return problem
        message = message_of(project, mode, want, now_ms)
        provider = self._desk.carrier(message)
        if provider is None:
            return _no_provider(message.mode, message.channel)
        for channel in message.chain.channels[1:] if message.chain is not None else ():
            if self._desk.hint(project, mode, channel) is None:
                return _no_provider(mode, channel)
        to = message.personal.to
        lane = LANE_NUMBER[message.lane]
        sealed = self._ring.seal(
            encode_personal(message.personal), message.id
        )  # whatever can fail, before a place is taken
        handed = bool(provider) and message.due_ms <= now_ms and self._desk.reserve(provider, lane)
        job = Job(message=message, to_hash=address_key(self._ring, to), provider=provider)
        ready = self._desk.first_attempt(provider, job) if handed and _at_once(message) else None
        row = NewMessage(
            project, message.id, mode, message.channel, lane, message.status, now_ms, message.due_ms,
            message.valid_until_ms, message.sequence, message.on_unknown, message.template, message.locale,
            message.reference, _json(message.tags), message.retry_of, self._ring.current, job.to_hash,
            sealed, provider, new_id("evt"),
            self._desk.owner if handed else None, now_ms + LEASE_S * 1000 if handed else message.due_ms,
            want.idempotency.key_hash if want.idempotency else None,
            want.idempotency.body_hash if want.idempotency else None,
            None if message.chain is None else msgspec.json.encode(message.chain).decode(),
            ready.begin if ready is not None else None,
        )  # fmt: skip
        return _Made(row, job, ready)

    def _answer(self, made: "_Made", stored: StoreAccepted) -> Accepted | RequestError:
        row = made.row
        if row.owner is not None and not (stored.kind == "new" and stored.handed):
            self._desk.unreserve(row.provider)
        if stored.kind == "reused":
            return IdempotencyReused("this Idempotency-Key was used with another body; use a new key for a new request")
        if stored.kind == "new":
            self._go(made, stored)
        return Accepted(stored.id, stored.status, stored.channel, stored.kind == "replay", stored.created_ms)

    def _go(self, made: "_Made", stored: StoreAccepted) -> None:
        provider, begun = made.row.provider, stored.begun
        if not stored.handed:
            self._desk.wake(provider)
        elif begun is None or made.ready is None or begun.kind in ("gone", "not_owner"):
            self._desk.hand(provider, made.job)
        elif begun.kind == "ok":
            self._desk.launch(provider, made.ready, begun.concat_ref)
        else:
            self._desk.ended(provider)


class _Made(NamedTuple):
    """A message on its way to the store."""

    row: NewMessage
    job: Job
    ready: Ready | None


def _without_attempts(rows: list[NewMessage], error: Exception) -> list[NewMessage] | None:
    """The same messages, if an attempt among them may be what could not be stored: then the pipeline finds out which."""
    away = isinstance(error, StoreFull) or (isinstance(error, StoreError) and error.doubtful)
    if away or all(row.begin is None for row in rows):
        return None
    return [msgspec.structs.replace(row, begin=None) for row in rows]


def _at_once(message: Message) -> bool:
    """Whether its first attempt may share its commit.

    A crash between commit and wire makes the attempt unknown, though nothing was sent: a message that is not to be sent again
    then (`hold`) takes two commits. So does what has more to it than words: a template that ended the process while it is
    accepted would end it again at every try of its customer, where nobody isolates it (`quarantine`).
    """
    words = message.personal.data is None and message.personal.content is None
    return words and message.on_unknown == "resend" and message.sequence is None and message.chain is None


_NAMES = {"sms": "SMS", "email": "email", "whatsapp": "WhatsApp"}


def _no_provider(mode: Mode, channel: str) -> InvalidRequest:
    name = _NAMES.get(channel, channel)
    detail = f"no {mode} {name} provider is configured; declare one, or use a test key (tk_test_…)"
    return InvalidRequest(detail, code="no_provider")


def _template_problem(request: SendRequest) -> InvalidRequest | None:
    """Liquid that cannot be parsed, in `text` and in `content`; what the data make of it is seen in `stages`."""
    if request.data is None:
        return None
    bad: list[tuple[str, TemplateError]] = []
    if request.text is not None:
        try:
            parse(request.text)
        except TemplateError as error:
            bad.append(("/text", error))
    if request.content is not None:
        for channel in channels_of(request):
            rules, content = CHANNELS[channel], content_for(request, channel)
            pointer = "/content" if request.channels is None else f"/content/{channel}"
            bad += unparsable(content or {}, rules.liquid, rules.html, pointer)
    if not bad:
        return None
    errors = tuple(FieldError(pointer=where, code=error.code, detail=error.detail) for where, error in bad)
    return InvalidRequest("the request has a bad field", errors=errors)


def _json(tags: tuple[str, ...]) -> str | None:
    return msgspec.json.encode(tags).decode() if tags else None


def message_of(project: str, mode: Mode, want: Want, now_ms: int) -> Message:
    """The message that is wanted, on the first of its channels. The request was checked."""
    request = want.request
    due_ms = max(now_ms, millis(request.send_at) or 0)
    until_ms = millis(request.valid_until)
    if request.valid_for_s is not None:
        until_ms = due_ms + request.valid_for_s * 1000
    channels = channels_of(request)
    first, *rest = (_step(request, channel) for channel in channels)
    return Message(
        id=new_id("msg"),
        project=project,
        mode=mode,
        channel=first.channel,
        lane=request.lane,
        created_ms=now_ms,
        due_ms=due_ms,
        status="scheduled" if due_ms > now_ms else "accepted",
        valid_until_ms=until_ms,
        locale=request.locale,
        sequence=request.sequence,
        on_unknown=request.on_unknown,
        reference=request.reference,
        tags=tuple(request.tags),
        retry_of=want.retry_of,
        chain=_chain(request, channels) if rest else None,
        personal=Personal(
            to=first.to,
            each=first.each,
            sender=first.sender,
            text=request.text,
            content=first.content,
            data=request.data,
            metadata=request.metadata,
            steps=tuple(rest),
        ),
    )


def _step(request: SendRequest, channel: str) -> Step:
    to = addresses(request, channel)
    return Step(
        channel=channel, to=to[0], each=to if len(to) > 1 else (), sender=sender_for(request, channel),
        content=content_for(request, channel),
    )  # fmt: skip


def _chain(request: SendRequest, channels: tuple[str, ...]) -> Chain:
    fallback = request.fallback or Fallback()
    return Chain(channels=channels, after_s=fallback.after_s, on=tuple(fallback.on))
