"""How a route is declared: path, scope, what it takes and what it answers, in one place.

::

    @route("POST", "/v1/things/{thing_id:str}/poke", scope="things:write", summary="Poke a thing",
           body=PokeRequest, answers={200: Thing}, problems=(404, 409))
    async def poke(request: Call, thing_id: FromPath[str]) -> Response[bytes]:
        wanted = await body_of(request, PokeRequest)
        ...
        return answer(view)

    router = Router("/", route_handlers=[poke])

The OpenAPI document, the authorisation matrix and the guard all read this one declaration.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from tidings.domain.errors import FieldError, IdempotencyReused
from tidings.http.auth import Caller
from tidings.http.body import check_media, decode, explain_raw, invalid, most_bytes, read_body
from tidings.http.problem import field_error, json_bytes
from tidings.http.services import Services
from tidings.kit.limits import IDEMPOTENCY_KEY_CHARS
from tidings.kit.secrets import digest
from tidings.store.accounts import Claim

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Call = Request[Any, Caller, State]
T = TypeVar("T")
Handler = Callable[..., Awaitable[Response[bytes]]]


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of a route. `scope` None: needs no key. An answer of None has no body."""

    method: str
    path: str
    summary: str
    scope: str | None
    answers: dict[int, Any]
    body: Any = None
    query: Any = None
    problems: tuple[int, ...] = ()
    idempotent: bool = False  # takes an Idempotency-Key
    media: str = "application/json"
    description: str = ""
    tag: str = ""


def route(
    method: Method,
    path: str,
    *,
    scope: str | None,
    summary: str,
    answers: dict[int, Any],
    body: Any = None,
    query: Any = None,
    problems: tuple[int, ...] = (),
    idempotent: bool = False,
    media: str = "application/json",
    description: str = "",
) -> Callable[[Handler], HTTPRouteHandler]:
    """A Litestar handler that carries its declaration as `opt["spec"]`."""
    spec = Spec(
        method=method, path=path, summary=summary, scope=scope, answers=answers, body=body, query=query,
        problems=problems, idempotent=idempotent, media=media, description=description, tag=_tag(path),
    )  # fmt: skip

    def declare(fn: Handler) -> HTTPRouteHandler:
        # the status is the Response's own; this one only keeps Litestar from judging the signature
        return HTTPRouteHandler(
            path, http_method=method, opt={"spec": spec}, status_code=200, name=fn.__name__, media_type=media,
            include_in_schema=False,
        )(fn)  # fmt: skip

    return declare


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    return parts[1] if parts[0] == "v1" and len(parts) > 1 else "operations"


def services(request: Call) -> Services:
    """What the composition root handed over."""
    return cast(Services, request.app.state.services)


def answer(
    value: Any, status: int = 200, *, replayed: bool = False, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """A JSON answer."""
    extra = dict(headers or {})
    if replayed:
        extra["Idempotency-Replayed"] = "true"
    return Response(json_bytes(value), status_code=status, media_type="application/json", headers=extra)


def no_content() -> Response[bytes]:
    """204."""
    return Response(b"", status_code=204)


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


async def raw_body(request: Call) -> bytes:
    """The body, read once within the limits."""
    kept = request.scope["state"].get("tidings.body")
    if kept is None:
        header = request.headers.get
        given = header("content-length")
        length = given.encode("latin-1") if given is not None else None
        kept = await read_body(request.receive, length, most_bytes(request.scope["path"], length))
        if kept:
            media, encoding = header("content-type"), header("content-encoding")
            check_media(media.encode("latin-1") if media else None, encoding.encode("latin-1") if encoding else None)
        request.scope["state"]["tidings.body"] = kept
    return cast(bytes, kept)


async def body_of(
    request: Call,
    kind: type[T],
    check: Callable[[Any], list[FieldError]] | None = None,
    spare: dict[str, Any] | None = None,
) -> T:
    """The body as a struct of this kind. Raises problems that name every bad field at once."""
    return cast(T, decode(await raw_body(request), _decoder(kind), check, spare))


@lru_cache(maxsize=256)
def _lists(kind: Any) -> frozenset[str]:
    return frozenset(f.encode_name for f in msgspec.structs.fields(kind) if "list" in str(f.type))


def query_of(request: Call, kind: type[T]) -> T:
    """The query parameters as a struct of this kind; unknown ones are refused, so that a typo never widens a list."""
    raw: dict[str, Any] = {}
    lists = _lists(kind)
    errors: list[FieldError] = []
    for name, value in parse_qsl(
        request.scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace"
    ):
        if name in lists:
            raw.setdefault(name, []).extend(part for part in value.split(",") if part)
        elif name in raw:
            errors.append(field_error(f"/{name}", "repeated", "may be given once"))
        else:
            raw[name] = value
    if not errors:
        try:
            return msgspec.convert(raw, kind, strict=False)
        except msgspec.ValidationError as error:
            raise explain_raw(raw, kind, error, None, None, strict=False) from error
    raise invalid(errors)


KEY_FORM: Final = f"1 to {IDEMPOTENCY_KEY_CHARS} visible ASCII characters"


def key_hashes(key: bytes | None, mode: str, path: str, body: bytes) -> tuple[str, str] | None:
    """(hash of the Idempotency-Key, hash of what it came with), or None without a key. Raises InvalidRequest.

    The mode is part of the key: a test request never answers for a live one. The path is part of the body.
    """
    if key is None:
        return None
    if not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS or not all(32 < c < 127 for c in key):
        raise invalid([field_error("/Idempotency-Key", "invalid_header", f"must be {KEY_FORM}")])
    return digest(mode.encode() + b"\n" + key), digest(path.encode() + b"\n" + body)


async def claim_of(request: Call, resource: str) -> Claim | None:
    """What this request claims with its Idempotency-Key, or None without one."""
    key = request.headers.get("idempotency-key")
    caller = request.auth
    hashes = key_hashes(
        key.encode("latin-1") if key is not None else None, caller.mode, request.scope["path"], await raw_body(request)
    )
    if hashes is None:
        return None
    return Claim(
        project=caller.project,
        key_hash=hashes[0],
        body_hash=hashes[1],
        resource=resource,
        now_ms=services(request).now(),
    )


def settle_claim(claimed: tuple[str, str]) -> tuple[str, bool]:
    """(resource, replayed) of a claim. Raises IdempotencyReused."""
    kind, resource = claimed
    if kind == "reused":
        raise IdempotencyReused("this Idempotency-Key was used with another request; use a new key for a new request")
    return resource, kind == "replay"


def spec_of(opt: Any) -> Spec | None:
    """The declaration behind a handler's `opt`, if it has one."""
    return cast("Spec | None", opt.get("spec"))


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None
