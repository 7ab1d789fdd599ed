"""Status callbacks as Twilio makes them: a form for each new status of a message, to the URL that came with the message.

They ride on a webhook endpoint that each project gets with its first `StatusCallback`: same cursor, same commits, same
retries, same guard. Only what is called differs: the URL is the message's own, kept sealed in its metadata.
Source: Twilio "Track outbound message status", "Validating requests" (X-Twilio-Signature).
"""

import base64
import hashlib
import hmac
import random
import time
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

import msgspec

from tidings.domain.errors import Conflict, StoreError
from tidings.domain.event import Event
from tidings.domain.twilio import CALLBACK_STATUS, account_sid, error_code_of, message_sid
from tidings.domain.view import StoredMessage
from tidings.kit.clock import Clock
from tidings.kit.limits import WEBHOOK_ENDPOINTS, WEBHOOK_FAILING_AFTER, WEBHOOK_PROBE_S
from tidings.kit.outbound import Answer, Guard, Outbound
from tidings.kit.secrets import KeyRing
from tidings.store.hooks import DeliveryRow, Done, Followed, NewEndpoint
from tidings.store.store import Store
from tidings.webhooks.call import Called, Caller
from tidings.webhooks.endpoint import Endpoint, Secret, from_row, to_row
from tidings.webhooks.pump import Pump
from tidings.webhooks.sign import new_secret

#: Stands where another endpoint has its URL. It is no URL, so that no change over `/v1/webhooks` keeps it by accident.
EACH_MESSAGE: Final = "twilio:StatusCallback"
API_VERSION: Final = "2010-04-01"
_URL_CHARS: Final = 2_000


def auth_token(ring: KeyRing, project: str) -> str:
    """The project's auth token, 32 hex digits: it signs callbacks. Derived, because API keys are kept as hashes only."""
    return ring.lookup(f"twilio-auth-token:{project}")


def signature(token: str, url: str, params: dict[str, str]) -> str:
    """`X-Twilio-Signature`: base64 of HMAC-SHA1 over the URL and the parameters sorted by name."""
    text = url + "".join(name + params[name] for name in sorted(params))
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), hashlib.sha1)).decode()


def url_problem(url: str, guard: Guard) -> str | None:
    """Why a message's callback URL cannot be used; None if it can. The address is judged again when it is dialled."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not host or len(url) > _URL_CHARS or not url.isprintable():
        return f"must be an http or https URL of at most {_URL_CHARS} characters"
    if parts.username or parts.password or parts.fragment or " " in url or "\\" in url:
        return "must not hold a user name, a password, a fragment, a space or a backslash"
    return guard.refusal(host)


def callback_url(metadata: Any) -> str | None:
    """The StatusCallback in a message's metadata."""
    kept = cast("dict[str, Any]", metadata).get("twilio") if isinstance(metadata, dict) else None
    url = cast("dict[str, Any]", kept).get("status_callback") if isinstance(kept, dict) else None
    return url if isinstance(url, str) else None


def endpoint_id(project: str) -> str:
    """The id of the project's endpoint for status callbacks."""
    return "whk_" + project.partition("_")[2]


async def ensure(store: Store, ring: KeyRing, now: Clock, project: str) -> bool:
    """Makes the endpoint if it is not there; whether it did. Raises Conflict, StoreError."""
    found = await store.webhooks.endpoint(project, endpoint_id(project))
    if found is None:
        endpoint = Endpoint(
            project=project, id=endpoint_id(project), url=EACH_MESSAGE, secrets=(Secret(new_secret()),),
            types=frozenset(f"message.{word}" for word in CALLBACK_STATUS), status="enabled", reason=None, cursor=0,
            description="Status callbacks of the Twilio-compatible API", failing_since_ms=None, created_ms=now(),
        )  # fmt: skip
        try:
            kind, _ = await store.webhooks.create(
                NewEndpoint(to_row(ring, endpoint), None, None, WEBHOOK_ENDPOINTS + 1)
            )
        except StoreError:  # another request made it meanwhile
            if await store.webhooks.endpoint(project, endpoint_id(project)) is None:
                raise
            return False
        if kind != "new":
            raise Conflict("the project has no room for one more webhook endpoint; delete one first", code="limit")
        return True
    if from_row(ring, found).url != EACH_MESSAGE:
        raise Conflict(f"webhook endpoint {found.id} was given a URL of its own; delete it, it is made anew")
    return False


def form(project: str, view: dict[str, Any]) -> dict[str, str]:
    """The parameters of the callback about a message (`webhooks/payload` data)."""
    sid, word = message_sid(str(view["id"])), str(view.get("status", ""))
    status = CALLBACK_STATUS.get(word, word)
    params = {
        "AccountSid": account_sid(project), "ApiVersion": API_VERSION, "MessageSid": sid, "SmsSid": sid,
        "MessageStatus": status, "SmsStatus": status, "To": view.get("to") or "", "From": view.get("from") or "",
    }  # fmt: skip
    code = error_code_of(word, view.get("error"))
    if code is not None:
        params["ErrorCode"] = str(code)
    return params


class StatusCaller(Caller):
    """Calls each message's own URL. A host that does not answer is left alone for a while, so that it slows no other."""

    def __init__(self, outbound: Outbound, endpoint: Endpoint, now: Clock, token: str) -> None:
        super().__init__(outbound, endpoint, now)
        self._token = token
        self._dead: dict[str, tuple[int, float]] = {}  # host: failures in a row, monotonic time of the last

    @property
    def failing(self) -> bool:
        """Never as a whole: the URLs are not of one house."""
        return False

    async def _call(self, event: Event, body: bytes, keys: list[bytes]) -> Called:
        view = msgspec.json.decode(body)["data"]
        url, at_ms, start = callback_url(view.get("metadata")), self._now(), time.monotonic()
        if url is None:
            return Called(Answer(None, "the message's StatusCallback was erased"), at_ms, 0)
        host = urlsplit(url).netloc
        failures, last = self._dead.get(host, (0, 0.0))
        if failures >= WEBHOOK_FAILING_AFTER and start - last < WEBHOOK_PROBE_S:
            return Called(Answer(None, "not called: the host does not answer"), at_ms, 0)
        params = form(event.project, view)
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "x-twilio-signature": signature(self._token, url, params),
            "i-twilio-idempotency-token": event.id,  # the same at every try: a callback may come twice
        }
        answer = await self._outbound.post(url, headers, urlencode(params).encode())
        self._dead.pop(host, None)
        if answer.status is None:
            self._dead[host] = (failures + 1, time.monotonic())
        return Called(answer, at_ms, int((time.monotonic() - start) * 1000))


class StatusPump(Pump):
    """The pump of a project's status callbacks: passes over the messages that have none, and is never disabled."""

    def __init__(
        self, store: Store, ring: KeyRing, outbound: Outbound, now: Clock, endpoint: Endpoint, rng: random.Random
    ) -> None:
        super().__init__(store, ring, outbound, now, endpoint, rng)
        self._caller = StatusCaller(outbound, endpoint, now, auth_token(ring, endpoint.project))

    async def _read(self) -> Followed:
        batch = await super()._read()
        events = [event for event in batch.events if _wanted(batch.subjects.messages.get(event.message or ""))]
        return msgspec.structs.replace(batch, events=events)

    async def _record(self, rows: list[DeliveryRow], calls: list[Called], cursor: int | None) -> None:
        await self._write(Done(self.endpoint.project, self.endpoint.id, rows, cursor, None))
        if cursor is not None:
            self._saved, self._saved_at = cursor, time.monotonic()
        if any(row.next_ms is not None for row in rows):
            self.again.ring()


def _wanted(found: StoredMessage | None) -> bool:
    return found is not None and callback_url(found.message.personal.metadata) is not None
