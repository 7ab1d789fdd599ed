"""The client against the server's own declarations: every call exists there, is understood, and is answered in full."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from litestar.handlers import HTTPRouteHandler

from tidings.http import health
from tidings.http.route import Spec, spec_of
from tidings.http.v1 import (
    errands,
    events,
    inbound,
    keys,
    messages,
    providers,
    receipts,
    suppressions,
    verifications,
    webhooks,
)
from tidings_client import models
from tidings_client.core import result_of
from tidings_client.sync import Tidings

MODULES: Any = (
    messages, events, inbound, receipts, suppressions, webhooks, keys, providers, errands, verifications, health,
)  # fmt: skip
TO = "+15005550001"

# every method of the client, with every argument it has
CALLS: list[Any] = [
    lambda c: c.messages.send(to=TO, text="a", sender="ACME", lane="otp", valid_for_s=300, tags=["x"]),
    lambda c: c.messages.send_batch([{"to": TO, "text": "a", "lane": "otp"}]),
    lambda c: c.messages.preview(to=TO, text="Hello {{ name }}", data={"name": "Ada"}),
    lambda c: c.messages.get("msg_1"),
    lambda c: c.messages.list(
        status="sent", channel="sms", to=TO, template="t", reference="r", tag="x", since="2026-01-01T00:00:00Z", limit=5
    ),
    lambda c: c.messages.events("msg_1"),
    lambda c: c.messages.cancel("msg_1"),
    lambda c: c.messages.retry("msg_1"),
    lambda c: c.webhooks.create(url="https://x.test/", types=["message.sent"], description="d"),
    lambda c: c.webhooks.get("whk_1"),
    lambda c: c.webhooks.update("whk_1", url="https://y.test/", types=[], description="", status="disabled"),
    lambda c: c.webhooks.delete("whk_1"),
    lambda c: c.webhooks.rotate_secret("whk_1"),
    lambda c: c.webhooks.deliveries("whk_1"),
    lambda c: c.webhooks.replay("whk_1", "2026-01-01T00:00:00Z"),
    lambda c: c.webhooks.replay_delivery("whd_1"),
    lambda c: c.webhooks.list(),
    lambda c: c.keys.create(name="k", scopes=["*"], mode="live", expires_at="2027-01-01T00:00:00Z", project="prj_1"),
    lambda c: c.keys.revoke("key_1"),
    lambda c: c.keys.list(),
    lambda c: c.providers.create(name="p", type="sms.smpp", config={"port": 2775}),
    lambda c: c.providers.get("p"),
    lambda c: c.providers.pause("p"),
    lambda c: c.providers.resume("p"),
    lambda c: c.providers.delete("p"),
    lambda c: c.providers.list(),
    lambda c: c.providers.templates("p"),
    lambda c: c.providers.upload("p", b"\x89PNG", "image/png"),
    lambda c: c.suppressions.add(TO, channel="sms", reason="manual"),
    lambda c: c.suppressions.lift(TO, channel="sms"),
    lambda c: c.suppressions.list(),
    lambda c: c.projects.create(name="p"),
    lambda c: c.projects.list(),
    lambda c: c.receipts.unmatched(),
    lambda c: c.verifications.start(to=TO, channel="sms", locale="de", brand="ACME", sender="ACME", reference="u-1"),
    lambda c: c.verifications.check("ver_1", "123456"),
    lambda c: c.verifications.resend("ver_1"),
    lambda c: c.verifications.resend("ver_1", channel="sms"),
    lambda c: c.verifications.cancel("ver_1"),
    lambda c: c.verifications.get("ver_1"),
    lambda c: c.verifications.stats(since="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z"),
    lambda c: c.verifications.list(status="approved", reference="u-1", to=TO),
    lambda c: c.verifications.allow("+4915"),
    lambda c: c.verifications.disallow("+4915"),
    lambda c: c.verifications.prefixes(),
    lambda c: c.inbound(),
    lambda c: c.mark_read("inb_1"),
    lambda c: c.health(),
]


def _specs() -> Iterator[Spec]:
    for module in MODULES:
        for handler in vars(module).values():
            spec = spec_of(handler.opt) if isinstance(handler, HTTPRouteHandler) else None
            if spec is not None:
                yield spec


SPECS = list(_specs())


class Stop(Exception):
    """The call was seen; it need not go out."""


def _call_of(act: Any) -> Any:
    """What the client would send."""
    seen: list[Any] = []

    def do(wanted: Any, retries: int | None = None) -> Any:
        seen.append(wanted)
        raise Stop

    client = Tidings("tk_test_x")
    for part in [client, *(part for part in vars(client).values() if hasattr(part, "_transport"))]:
        part._transport.do = do
        part._do = do
    with pytest.raises(Stop):
        next(act(client))  # a call raises at once, a list with its first page
    return seen[0]


def _spec_for(wanted: Any) -> Spec:
    """The route a call reaches; one whose path has no variable part goes first, as in the server."""
    fits = [
        spec
        for spec in SPECS
        if spec.method == wanted.method and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", spec.path), wanted.path)
    ]
    assert fits, f"the server has no {wanted.method} {wanted.path}"
    return min(fits, key=lambda spec: spec.path.count("{"))


def _names(kind: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("n", range(len(CALLS)))
def test_the_server_understands(n: int) -> None:
    wanted = _call_of(CALLS[n])
    spec = _spec_for(wanted)
    asked = {pair.partition("=")[0] for pair in wanted.query.split("&") if pair}
    assert asked <= (_names(spec.query) if spec.query else set())
    if wanted.body is not None:
        assert spec.body is not None
        msgspec.json.decode(wanted.body, type=spec.body)  # forbids what it does not know
    assert wanted.repeatable == (wanted.method != "POST" or spec.idempotent or _harmless_twice(spec.path))


def _harmless_twice(path: str) -> bool:
    """POSTs that need no kept key, because the second time changes nothing."""
    return path.endswith(("/pause", "/resume", "/cancel", "/preview", "/prefixes", "/read"))


def _flat(kind: Any) -> set[str]:
    """`a.b` for every field that an answer may have."""
    names: set[str] = set()
    for field in msgspec.structs.fields(kind):
        names.add(field.encode_name)
        for inner in _structs(field.type):
            names |= {f"{field.encode_name}.{name}" for name in _flat(inner)}
    return names


def _structs(kind: Any) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for part in getattr(kind, "__args__", ()) for found in _structs(part)]


# what the client passes over on purpose
PASSED_OVER = {"data.error.errors.pointer", "data.error.errors.code", "data.error.errors.detail"}  # plain dicts there


@pytest.mark.parametrize("n", range(len(CALLS)))
def test_nothing_of_an_answer_is_lost(n: int) -> None:
    wanted = _call_of(CALLS[n])
    spec = _spec_for(wanted)
    (kind,) = [kind for status, kind in spec.answers.items() if 200 <= status < 300]
    if kind is None or wanted.answer is None:
        assert kind is wanted.answer is None
        return
    origin = getattr(wanted.answer, "__origin__", wanted.answer)
    if origin is dict:
        return
    assert _flat(kind) - _flat(wanted.answer) <= PASSED_OVER


def test_fields_of_a_newer_server_are_passed_over() -> None:
    body = (
        b'{"data": [{"id": "msg_1", "status": "paused_by_moon", "new": {"a": [1]}}], "next_cursor": null, "total": 1}'
    )
    wanted = _call_of(lambda c: c.messages.list())
    page: models.Page[models.Message] = result_of(wanted, 200, body)
    assert page.data[0].status == "paused_by_moon"
