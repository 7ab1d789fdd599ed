"""Reading bodies within limits, and naming every bad field at once."""

import asyncio
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from tidings.domain.errors import FieldError, InvalidRequest, RequestError
from tidings.http import body as under_test
from tidings.http.body import check_media, decode, read_body
from tidings.http.problem import TooLarge, TooSlow, UnsupportedMedia, field_error


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    a: int
    b: str = ""


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=5)]
    inner: Inner | None = None
    items: Annotated[list[Inner], Meta(max_length=2)] = []
    either: str | Inner = ""
    maybe: Annotated[list[str], Meta(max_length=2)] | UnsetType = UNSET
    renamed: int = msgspec.field(name="class", default=0)


DECODER = msgspec.json.Decoder(Outer)
WALKS: list[tuple[Any, dict[str, str]]] = [
    ({"name": "abc", "inner": {"a": 1}, "items": [{"a": 1}], "either": {"a": 2}, "maybe": ["x"], "class": 1}, {}),
    ({}, {"/name": "required"}),
    ({"name": ""}, {"/name": "length"}),
    ({"name": 1, "class": "x", "other": 1}, {"/name": "invalid_type", "/class": "invalid_type", "/other": "unknown_field"}),
    ({"name": "x", "inner": {"b": 1, "c": 2}},
     {"/inner/a": "required", "/inner/b": "invalid_type", "/inner/c": "unknown_field"}),
    ({"name": "x", "inner": []}, {"/inner": "invalid_type"}),
    ({"name": "x", "items": [{"a": 1}, {"a": "x"}, {"b": 3}]},
     {"/items/1/a": "invalid_type", "/items/2/a": "required", "/items/2/b": "invalid_type"}),
    ({"name": "x", "items": [{"a": 1}] * 3}, {"/items": "length"}),
    ({"name": "x", "either": {"a": "x"}}, {"/either/a": "invalid_type"}),
    ({"name": "x", "either": 5}, {"/either": "invalid_type"}),
    ({"name": "x", "maybe": [1, "a", 2]}, {"/maybe/0": "invalid_type", "/maybe/2": "invalid_type"}),
    ({"name": "x", "maybe": ["1", "2", "3"]}, {"/maybe": "length"}),
    ([1], {"": "invalid_type"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "wrong"), WALKS)
def test_every_wrong_place_is_named(value: Any, wrong: dict[str, str]) -> None:
    raw = msgspec.json.encode(value)
    if not wrong:
        assert decode(raw, DECODER).name == "abc"
        return
    with pytest.raises(InvalidRequest) as refused:
        decode(raw, DECODER)
    assert {error.pointer: error.code for error in refused.value.errors} == wrong


def test_what_is_right_in_type_is_still_checked() -> None:
    def check(value: Any) -> list[FieldError]:
        found = [field_error("/class", "odd", "is odd")] if value.renamed % 2 else []
        return found + ([field_error("/name", "bad", "is bad")] if value.name == "spare" else [])

    with pytest.raises(InvalidRequest) as refused:
        decode(b'{"inner": 5, "class": 3}', DECODER, check, {"name": "spare"})
    assert {error.pointer for error in refused.value.errors} == {"/name", "/inner", "/class"}
    assert [error.code for error in refused.value.errors if error.pointer == "/name"] == ["required"]


MALFORMED = [
    (b"", "empty"), (b"  \n", "empty"), (b'{"name": "x"', "line 1, column 13"), (b'{\n\n  "name": x}', "line 3, column"),
    (b"\xff\xfe", "UTF-8|not JSON"), (b"[" * 10_000, "nested|not JSON"), (b'{"name": "\\ud800"}', "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "says"), MALFORMED)
def test_malformed_json_names_the_place(raw: bytes, says: str) -> None:
    with pytest.raises(RequestError, match=says) as refused:
        decode(raw, DECODER)
    assert refused.value.code == "malformed_json"


def _chunks(*parts: bytes) -> Any:
    left = [{"type": "http.request", "body": part, "more_body": n < len(parts) - 1} for n, part in enumerate(parts)]

    async def receive() -> Any:
        return left.pop(0)

    return receive


async def test_bodies_are_read_within_the_limit() -> None:
    assert await read_body(_chunks(b"ab", b"c"), None, 3) == b"abc"
    assert await read_body(_chunks(b"abc"), b"3", 3) == b"abc"
    for receive, length in (
        (_chunks(b"abcd"), None),
        (_chunks(b"ab", b"cd"), None),
        (_chunks(b""), b"4"),
        (_chunks(b""), b"x"),
    ):
        with pytest.raises(TooLarge):
            await read_body(receive, length, 3)


async def test_reading_stops_at_the_limit_not_at_the_end() -> None:
    parts = [b"ab"] * 1_000
    receive = _chunks(*parts)
    with pytest.raises(TooLarge):
        await read_body(receive, None, 3)
    assert (await receive())["more_body"]  # hundreds of parts were left unread


async def test_a_slow_caller_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "BODY_TIMEOUT_S", 0.02)
    with pytest.raises(TooSlow):
        await read_body(lambda: asyncio.sleep(5, {}), None)


async def test_a_caller_that_went_away_is_no_error_of_ours() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ConnectionResetError):
        await read_body(receive, None)


@pytest.mark.parametrize(
    "media", [None, b"application/json", b"Application/JSON; charset=utf-8", b"application/x+json"]
)
def test_json_is_taken(media: bytes | None) -> None:
    check_media(media, None)
    check_media(media, b"identity")


@pytest.mark.parametrize(("media", "encoding"), [(b"text/plain", None), (b"application/json", b"gzip"), (b"", None)])
def test_other_media_are_not(media: bytes, encoding: bytes | None) -> None:
    with pytest.raises(UnsupportedMedia):
        check_media(media, encoding)
