"""The client library against the real server: what some carriers do beside carrying messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from acceptance.conftest import Api
from tidings_client import AsyncTidings, BadRequest, Conflict, Inbound, NotFound, Template, Tidings

CARRIER = "sandbox-whatsapp"
PNG = b"\x89PNG\r\n\x1a\n"


def _sync(api: Api, act: Callable[[Any], Any]) -> Any:
    with Tidings(api.test_key, api.url) as client:
        found = act(client)
        return list(found) if hasattr(found, "__next__") else found


def _async(api: Api, act: Callable[[Any], Any]) -> Any:
    async def whole() -> Any:
        async with AsyncTidings(api.test_key, api.url) as client:
            found = act(client)
            return [one async for one in found] if hasattr(found, "__anext__") else await found

    return asyncio.run(whole())


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def do(request: pytest.FixtureRequest, server: Api) -> Callable[[Callable[[Any], Any]], Any]:
    return lambda act: request.param(server, act)


def test_templates(do: Any) -> None:
    found: list[Template] = do(lambda c: c.providers.templates(CARRIER))
    states = {one.name: one.status for one in found}
    assert (states["order_update"], states["seasonal_offer"], states["old_news"]) == ("APPROVED", "REJECTED", "PAUSED")
    assert next(one for one in found if one.name == "order_update").places == 2
    with pytest.raises(Conflict) as told:
        do(lambda c: c.providers.templates("sandbox"))
    assert told.value.code == "not_supported"
    with pytest.raises(NotFound):
        do(lambda c: c.providers.templates("nobody"))


def test_an_uploaded_file_can_be_sent(do: Any, server: Api) -> None:
    made = do(lambda c: c.providers.upload(CARRIER, PNG, "image/png"))
    assert (made.media_type, made.size) == ("image/png", len(PNG))
    content = {"image": {"id": made.id, "caption": "Look"}}
    sent = do(lambda c: c.messages.send(to="+15005550001", channel="whatsapp", content=content))
    assert server.wait_for(sent.id, "delivered")
    with pytest.raises(BadRequest) as told:
        do(lambda c: c.providers.upload(CARRIER, PNG, "image/gif"))
    assert [field.pointer for field in told.value.errors] == ["/media_type"]


def test_what_a_person_sent_is_marked_as_read(do: Any) -> None:
    sent = do(lambda c: c.messages.send(to="+15005550007", channel="whatsapp", text="Will you read?"))
    end_s = time.monotonic() + 30
    found: list[Inbound] = []
    while not found and time.monotonic() < end_s:
        time.sleep(0.05)
        found = [one for one in do(lambda c: c.inbound()) if one.in_reply_to == sent.id]
    for _ in range(2):
        assert do(lambda c: c.mark_read(found[0].id)) is None
    with pytest.raises(NotFound):
        do(lambda c: c.mark_read("inb_nothing"))
