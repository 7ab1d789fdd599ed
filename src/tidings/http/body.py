"""Reading a request's body and turning it into a struct; every bad field is found at once.

The fast way is one msgspec decode. Only if that fails is the raw JSON walked field by field.
"""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from litestar.types import Receive
from msgspec import UnsetType

from tidings.domain.errors import FieldError, InvalidRequest, RequestError
from tidings.http.problem import TooLarge, TooSlow, UnsupportedMedia, field_error
from tidings.kit.limits import BODY_BYTES, BODY_TIMEOUT_S, MESSAGE_BODY_BYTES

T = TypeVar("T")
Check = Callable[[Any], list[FieldError]]
_decode_any: Final = msgspec.json.Decoder().decode
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_PATH: Final = re.compile(r" - at `(key in )?\$([^`]*)`")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


async def read_body(receive: Receive, length: bytes | None, most: int = BODY_BYTES) -> bytes:
    """The whole body. Raises TooLarge as soon as it is known, TooSlow, ConnectionResetError if the caller went away."""
    if length is not None and (not length.isdigit() or len(length) > 12 or int(length) > most):
        raise TooLarge(f"the body may have at most {most} bytes")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            message = await receive()
            if message["type"] != "http.request":
                raise ConnectionResetError("the caller went away")
            body = message.get("body", b"")
            if not message.get("more_body"):
                return _small_enough(body, most)
            chunks, size = [body], len(body)
            while message.get("more_body"):
                message = await receive()
                if message["type"] != "http.request":
                    raise ConnectionResetError("the caller went away")
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > most:
                    break
    except TimeoutError as error:
        raise TooSlow(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from error
    return _small_enough(b"".join(chunks), most)


def most_bytes(path: str, length: bytes | None) -> int:
    """How long a customer's body may be. Messages and uploads bring files; who does not say how long it is gets less."""
    large = path.startswith("/v1/messages") or (path.startswith("/v1/providers/") and path.endswith("/media"))
    return MESSAGE_BODY_BYTES if length is not None and large else BODY_BYTES


def _small_enough(body: bytes, most: int) -> bytes:
    if len(body) > most:
        raise TooLarge(f"the body may have at most {most} bytes")
    return body


def check_media(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """Raises UnsupportedMedia unless the body is plain JSON. A missing type is taken as JSON."""
    if content_type is not None and content_type != b"application/json":
        media = content_type.split(b";")[0].strip().lower()
        if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
            raise UnsupportedMedia("send JSON with `Content-Type: application/json`")
    if content_encoding not in (None, b"identity", b""):
        raise UnsupportedMedia("send the body without Content-Encoding")


def decode(body: bytes, decoder: "msgspec.json.Decoder[T]", check: Check | None = None, spare: Any = None) -> T:
    """The struct that `body` is. Raises RequestError(malformed_json) or InvalidRequest with every bad field.

    `spare` gives values for required fields that are missing or bad, so that `check` can still judge the others.
    """
    try:
        value = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain(body, cast(type[Any], decoder.type), error, check, spare) from error
    if check is not None:
        errors = check(value)
        if errors:
            raise invalid(errors)
    return value


def invalid(errors: list[FieldError]) -> InvalidRequest:
    """The refusal that names every bad field."""
    many = "one field is" if len(errors) == 1 else f"{len(errors)} fields are"
    return InvalidRequest(f"{many} wrong: {errors[0].pointer or 'the body'} {errors[0].detail}", errors=tuple(errors))


def explain(body: bytes, kind: type[Any], error: Exception, check: Check | None, spare: Any) -> RequestError:
    """What is wrong with a body that did not decode."""
    try:
        raw = _decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        return RequestError(_where(body, malformed), code="malformed_json")
    return explain_raw(raw, kind, error, check, spare)


def explain_raw(
    raw: Any, kind: type[Any], error: Exception, check: Check | None, spare: Any, *, strict: bool = True
) -> RequestError:
    """The same for a value that is JSON (or, not `strict`, a query), but not of this kind."""
    errors = walk(raw, kind, "", strict=strict)
    if check is not None and isinstance(raw, dict) and errors:
        errors += _judge_the_rest(cast(dict[str, Any], raw), kind, errors, check, spare or {})
    return invalid(errors or [_from_message(str(error), "")])


def _where(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty; send a JSON object"
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8"
    found = _BYTE.search(str(error))
    at = int(found.group(1)) if found else len(body)
    line = body.count(b"\n", 0, at) + 1
    column = at - (body.rfind(b"\n", 0, at) + 1) + 1
    what = str(error).split(" (byte")[0].replace("JSON is malformed: ", "")
    return f"the body is not JSON: {what}, at line {line}, column {column}"


def _judge_the_rest(
    raw: dict[str, Any], kind: type[Any], errors: list[FieldError], check: Check, spare: dict[str, Any]
) -> list[FieldError]:
    bad = {_top(error.pointer) for error in errors}
    good = {**spare, **{name: value for name, value in raw.items() if _escape(name) not in bad}}
    bad |= {name for name in spare if name not in raw}
    try:
        value = msgspec.convert(good, kind)
    except msgspec.ValidationError:
        return []
    return [error for error in check(value) if _top(error.pointer) not in bad]


def _top(pointer: str) -> str:
    return pointer[1:].split("/", 1)[0]


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


@lru_cache(maxsize=256)
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def walk(value: Any, kind: Any, pointer: str, *, strict: bool = True) -> list[FieldError]:
    """Every place where `value` is not of the type `kind`, unknown and missing fields too."""
    inside = _walk_inside(value, kind, pointer, strict)
    if inside is not None:
        return inside
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        return [_from_message(str(error), pointer)]
    return []


def _walk_inside(value: Any, kind: Any, pointer: str, strict: bool) -> list[FieldError] | None:
    """The same for kinds that have parts; None where the value is to be looked at as a whole."""
    origin = get_origin(kind)
    if origin is Annotated:  # its parts first, then, if they are right, its limits
        return _walk_inside(value, get_args(kind)[0], pointer, strict) or None
    if origin in (Union, UnionType):
        options = [option for option in get_args(kind) if option is not UnsetType and option is not NoneType]
        if value is None and NoneType in get_args(kind):
            return []
        if len(options) == 1:
            return walk(value, options[0], pointer, strict=strict)
        fitting = [option for option in options if _has_parts(value, option)]
        return walk(value, fitting[0], pointer, strict=strict) if fitting else None
    if not _has_parts(value, kind):
        return None
    if isinstance(value, dict):
        return _walk_struct(cast("dict[str, Any]", value), kind, pointer, strict)
    item_kind = get_args(kind)[0]
    items = enumerate(cast("list[Any]", value))
    return [error for n, item in items for error in walk(item, item_kind, f"{pointer}/{n}", strict=strict)]


def _has_parts(value: Any, kind: Any) -> bool:
    """Whether the value is an object for a struct, or an array for a list."""
    if get_origin(kind) is Annotated:
        return _has_parts(value, get_args(kind)[0])
    if isinstance(value, dict):
        return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return isinstance(value, list) and get_origin(kind) is list


def _walk_struct(value: dict[str, Any], kind: type[msgspec.Struct], pointer: str, strict: bool) -> list[FieldError]:
    hints = _hints(kind)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    errors: list[FieldError] = []
    for name, item in value.items():
        at = f"{pointer}/{_escape(name)}"
        if name in fields:
            errors += walk(item, hints[fields[name].name], at, strict=strict)
        elif kind.__struct_config__.forbid_unknown_fields:
            errors.append(
                field_error(at, "unknown_field", f"is not a field here; known are {', '.join(sorted(fields))}")
            )
    for name, info in fields.items():
        if name not in value and info.required:
            errors.append(field_error(f"{pointer}/{name}", "required", "is required"))
    return errors


def _from_message(message: str, pointer: str) -> FieldError:
    found = _PATH.search(message)
    if found:
        pointer += "".join(f"/{_escape(step[0] or step[1])}" for step in _STEP.findall(found.group(2)))
    what = _PATH.sub("", message)
    code = "invalid_value" if what.startswith("Invalid") else "invalid_type"
    if " of length " in what:
        code = "length"
    elif what.startswith("Expected") and any(sign in what for sign in ("<=", ">=", " < ", " > ")):
        code = "range"
    elif "matching regex" in what:
        code = "format"
    return field_error(pointer, code, what[0].lower() + what[1:])
