"""The routes. They are not in our OpenAPI document: Twilio's own describes them. Each checks its key itself (`auth`)."""

from typing import Any, Final

from litestar import Response, Router
from litestar.params import FromPath

from tidings.delivery.accept import Idempotency, Want
from tidings.domain.errors import Conflict, RequestError
from tidings.domain.twilio import STATUS, digits_of
from tidings.http.body import read_body
from tidings.http.route import Call, answer, key_hashes, route, services
from tidings.http.twilio import listing, params
from tidings.http.twilio.auth import enter
from tidings.http.twilio.errors import TwilioError, not_found, on_error, unsupported
from tidings.http.twilio.views import account_view, received_view, sent_view
from tidings.webhooks.twilio_callbacks import auth_token, callback_url, endpoint_id, ensure

ROOT: Final = "/2010-04-01"
_TOKEN: Final = "i-twilio-idempotency-token"
_BODY_BYTES: Final = 65_536


async def _body(request: Call) -> bytes:
    length = request.headers.get("content-length")
    return await read_body(request.receive, length.encode("latin-1") if length is not None else None, _BODY_BYTES)


async def _form(request: Call, body: bytes) -> dict[str, str]:
    if request.scope["query_string"]:
        raise TwilioError(20001, "Send the parameters in the body, not in the query")
    return params.read_form(body, request.headers.get("content-type"))


@route(
    "POST", ROOT + "/Accounts/{account:str}/Messages.json", scope=None, summary="Send a message",
    answers={201: dict[str, Any]},
)  # fmt: skip
async def create(request: Call, account: FromPath[str]) -> Response[bytes]:
    """Durable when it answers, like `/v1/messages`."""
    caller, back, body = await enter(request, account, "messages:write"), services(request), await _body(request)
    wanted = params.send_request(await _form(request, body), caller.project, back.webhooks.guard, back.now())
    key = request.headers.get(_TOKEN)
    hashes = key_hashes(key.encode("latin-1") if key else None, caller.mode, request.scope["path"], body)
    if callback_url(wanted.metadata) and await ensure(back.store, back.ring, back.now, caller.project):
        await back.webhooks.refresh(caller.project, endpoint_id(caller.project))
    want = Want(wanted, Idempotency(*hashes) if hashes else None)
    made = (await back.acceptor.accept(caller.project, caller.mode, [want]))[0]
    if isinstance(made, RequestError):
        raise made
    resource = await _resource(request, made.id.partition("_")[2])
    return answer({**resource, "status": STATUS[made.status]}, 201)  # as it was accepted; by now it may be on its way


@route(
    "GET", ROOT + "/Accounts/{account:str}/Messages.json", scope=None, summary="List messages",
    answers={200: dict[str, Any]},
)  # fmt: skip
async def read_list(request: Call, account: FromPath[str]) -> Response[bytes]:
    """Sent and received, newest first."""
    caller = await enter(request, account, "messages:read")
    asked = listing.read(request.scope["query_string"])
    return answer(await listing.page(services(request), caller.project, asked))


@route(
    "GET", ROOT + "/Accounts/{account:str}/Messages/{message:str}", scope=None, summary="Read a message",
    answers={200: dict[str, Any]},
)  # fmt: skip
async def fetch(request: Call, account: FromPath[str], message: FromPath[str]) -> Response[bytes]:
    """One message, sent or received."""
    await enter(request, account, "messages:read")
    return answer(await _resource(request, _digits(request, message)))


@route(
    "POST", ROOT + "/Accounts/{account:str}/Messages/{message:str}", scope=None, summary="Cancel a scheduled message",
    answers={200: dict[str, Any]},
)  # fmt: skip
async def update(request: Call, account: FromPath[str], message: FromPath[str]) -> Response[bytes]:
    """`Status=canceled` is all that can be changed."""
    caller, body = await enter(request, account, "messages:write"), await _body(request)
    digits = _digits(request, message)
    given = await _form(request, body)
    await _resource(request, digits)
    params.only(given, params.UPDATE)
    if given.get("Status") != "canceled":
        raise unsupported("Status", "must be 'canceled'")
    try:
        return answer(sent_view(await services(request).control.cancel(caller.project, f"msg_{digits}")))
    except Conflict as error:
        raise TwilioError(20409, error.detail, 409) from error


@route(
    "DELETE", ROOT + "/Accounts/{account:str}/Messages/{message:str}", scope=None, summary="Refused",
    answers={405: dict[str, Any]},
)  # fmt: skip
async def delete(request: Call, account: FromPath[str], message: FromPath[str]) -> Response[bytes]:
    """The history of a message stays; a person's data is erased by other means."""
    await enter(request, account, "messages:write")
    await _resource(request, _digits(request, message))
    raise TwilioError(20004, "Method 'DELETE' is not supported for messages: their history stays", 405)


@route(
    "GET", ROOT + "/Accounts/{account:str}", scope=None, summary="Read the account",
    answers={200: dict[str, Any]},
)  # fmt: skip
async def read_account(request: Call, account: FromPath[str]) -> Response[bytes]:
    """With the auth token that signs the status callbacks: it takes the scope that shows webhook secrets."""
    sid = account.removesuffix(".json")
    caller = await enter(request, sid, "webhooks:write")
    return answer(account_view(caller.project, auth_token(services(request).ring, caller.project)))


def _digits(request: Call, message: str) -> str:
    digits = digits_of(message.removesuffix(".json"), "SM") if message.endswith(".json") else None
    if digits is None:
        raise not_found(request.scope["path"])
    return digits


async def _resource(request: Call, digits: str) -> dict[str, Any]:
    back, project = services(request), request.auth.project
    sent = (await back.store.messages.load(back.ring, project, [f"msg_{digits}"])).get(f"msg_{digits}")
    if sent is not None:
        return sent_view(sent)
    id = f"{listing.RECEIVED}_{digits}"
    received = (await back.store.lists.inbound_by_id(back.ring, project, [id])).get(id)
    if received is None:
        raise not_found(request.scope["path"])
    return received_view(project, received)


router = Router(
    "/", route_handlers=[create, read_list, fetch, update, delete, read_account],
    exception_handlers={Exception: on_error},
)  # fmt: skip
