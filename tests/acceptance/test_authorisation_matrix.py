"""Every route of the OpenAPI document × no key, revoked key, wrong scope, other project: nothing may leak.

The matrix is made from the document, so that a new route is in it by itself. The saboteurs take the project filter out of
every query, and the same matrix must then find leaks: it can go red.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from http_inside import Answer, Inside, inside

#: Routes that need no key, on purpose.
OPEN = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/docs",
    "/docs/errors",
    "/openapi.json",
    "/callbacks/{provider}",
    "/v1/push/ack",
}
MARK = "only-for-the-owner"
OWNERS_PHONE = "+15005550007"
PREFIX = "+4915199"


@dataclass
class House:
    """Two tenants, the owner's things, and the keys that try to get at them."""

    inside: Inside
    spec: Any
    owner: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    stranger: str = ""
    revoked: str = ""

    async def make(self, method: str, path: str, body: Any, key: str, status: int = 201) -> Any:
        answer = await self.inside.call(method, path, body, key=key)
        assert answer.status == status, answer.body
        return answer.json if answer.body else None


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with inside(tmp_path) as running:
        spec = (await running.call("GET", "/openapi.json")).json
        house = House(running, spec, owner=running.test_key)
        await _furnish(house)
        await _strangers(house)
        yield house


async def _furnish(house: House) -> None:
    """One of everything for the owner, each with something by which it would be known."""
    owner, running = house.owner, house.inside
    hook = await house.make("POST", "/v1/webhooks", {"url": "http://127.0.0.1:9/" + MARK, "description": MARK}, owner)
    message = {"to": OWNERS_PHONE, "text": MARK, "reference": MARK, "tags": [MARK]}
    sent = await house.make("POST", "/v1/messages", message, owner, 202)
    key = await house.make("POST", "/v1/keys", {"name": MARK, "mode": "test", "scopes": ["*"]}, owner)
    provider = {
        "name": MARK,
        "type": "sms.smpp",
        "config": {"host": "127.0.0.1", "port": 9, "system_id": "x", "password": "x"},
    }
    made = await house.make("POST", "/v1/providers", provider, owner)
    route = await house.make("POST", "/v1/routes", {"name": MARK, "targets": [{"provider": MARK}]}, owner)
    await house.make("POST", "/v1/suppressions", {"to": "+15005550199"}, owner)
    verification = await house.make("POST", "/v1/verifications", {"to": OWNERS_PHONE, "reference": MARK}, owner)
    await house.make("POST", "/v1/verifications/prefixes", {"prefix": PREFIX}, owner, 200)
    end_s = asyncio.get_running_loop().time() + 30
    while True:  # the reply and the first webhook deliveries come by themselves
        inbound = (await running.call("GET", "/v1/inbound", key=owner)).json["data"]
        deliveries = (await running.call("GET", f"/v1/webhooks/{hook['id']}/deliveries", key=owner)).json["data"]
        if inbound and deliveries:
            break
        assert asyncio.get_running_loop().time() < end_s, "no reply or no delivery came"
        await asyncio.sleep(0.02)
    house.ids = {
        "message_id": sent["id"], "inbound_id": inbound[0]["id"], "key_id": key["id"], "endpoint_id": hook["id"],
        "delivery_id": deliveries[0]["id"], "provider_id": made["id"], "route_id": route["id"],
        "verification_id": verification["id"], "prefix": PREFIX,
    }  # fmt: skip
    house.marks = [*house.ids.values(), MARK, OWNERS_PHONE, "+15005550199", key["project"]]
    house.ids["number"] = "0"  # of an attachment: nothing to be known by


async def _strangers(house: House) -> None:
    """A key of another project that may do everything there, and a revoked one of the owner's project."""
    project = await house.make("POST", "/v1/projects", {"name": "stranger"}, house.inside.live_key)
    every = {"name": "stranger", "mode": "live", "scopes": ["*"], "project": project["id"]}
    house.stranger = (await house.make("POST", "/v1/keys", every, house.inside.live_key))["key"]
    gone = await house.make("POST", "/v1/keys", {"name": "gone", "mode": "test", "scopes": ["*"]}, house.owner)
    await house.make("DELETE", f"/v1/keys/{gone['id']}", None, house.owner, 204)
    house.revoked = gone["key"]


def _routes(house: House) -> list[tuple[str, str, Any]]:
    return [(method.upper(), path, op) for path, item in house.spec["paths"].items() for method, op in item.items()]


def _path(house: House, path: str) -> str:
    return re.sub(r"{(\w+)}", lambda found: house.ids[found.group(1)], path)


def _body(house: House, op: Any) -> Any:
    """A good body that names the owner's things where it can."""
    schema = op.get("requestBody", {}).get("content", {}).get("application/json")
    if schema is None:
        return None
    example = schema.get("example", {})
    bodies = {
        "post_v1_keys": {"name": "x", "mode": "live", "scopes": ["*"], "project": house.marks[-1]},
        "post_v1_webhooks": {"url": "http://127.0.0.1:9/x"},
        "patch_v1_webhooks_endpoint_id": {"description": "x"},
        "post_v1_webhooks_endpoint_id_replay": {"since": "2026-01-01T00:00:00Z"},
        "delete_v1_suppressions": {"to": "+15005550199"},
    }
    return bodies.get(op["operationId"], example)


async def _ask(house: House, method: str, path: str, op: Any, key: str | None, query: str = "") -> Answer:
    patience_s = 0.3 if path == "/v1/stream" else 10.0
    return await house.inside.call(
        method, _path(house, path) + query, _body(house, op), key=key, patience_s=patience_s
    )  # fmt: skip


async def leaks(house: House) -> list[str]:
    """What a stranger gets of the owner's; empty if nothing. Reads come first, then what changes things."""
    found: list[str] = []
    for method, path, op in sorted(
        _routes(house), key=lambda route: (route[0] != "GET", route[0] == "DELETE", route[1])
    ):
        if path in OPEN:
            continue
        queries = [""]
        if method == "GET" and path == "/v1/messages":
            queries += [f"?reference={MARK}", f"?tag={MARK}", "?to=%2B15005550007", "?status=delivered"]
        if path == "/v1/events":
            queries += [f"?message_id={house.ids['message_id']}", "?types=message.delivered"]
        if path == "/v1/stream":
            queries = ["?after=0"]
        for query in queries:
            answer = await _ask(house, method, path, op, house.stranger, query)
            told = answer.body.decode("utf-8", "replace")
            asked = _path(house, path)
            if any(mark in told and mark not in asked for mark in house.marks):
                found.append(f"{method} {path}{query}: tells of the owner's things")
            if "{" in path and answer.status != 404:
                found.append(f"{method} {path}: {answer.status} for another project's id")
            if answer.status >= 500:
                found.append(f"{method} {path}: {answer.status}")
    return found


async def test_every_route_declares_its_scope(house: House) -> None:
    for method, path, op in _routes(house):
        if path in OPEN:
            assert op["security"] == [], path
        else:
            assert op["x-scope"], f"{method} {path}"
            assert op["security"] == [{"key": [op["x-scope"]]}]
            assert set(re.findall(r"{(\w+)}", path)) <= set(house.ids), f"furnish the house for {path}"


async def test_no_key_a_revoked_key_and_a_wrong_scope_get_nothing(house: House) -> None:
    closed = [route for route in _routes(house) if route[1] not in OPEN]
    assert len(closed) >= 35
    scopes = sorted({op["x-scope"] for _, _, op in closed})
    keys: dict[str, str] = {}
    for scope in scopes:
        others = {"name": "x", "mode": "test", "scopes": [other for other in scopes if other != scope]}
        keys[scope] = (await house.make("POST", "/v1/keys", others, house.owner))["key"]
    for method, path, op in closed:
        for key, status in ((None, 401), ("tk_live_nonsense", 401), (house.revoked, 401), (keys[op["x-scope"]], 403)):
            answer = await _ask(house, method, path, op, key)
            assert answer.status == status, f"{method} {path}"
            assert not any(mark in answer.body.decode() for mark in house.marks)


async def test_another_project_gets_nothing(house: House) -> None:
    assert await leaks(house) == []
    found = await house.inside.call("GET", f"/v1/messages/{house.ids['message_id']}", key=house.owner)
    assert found.json["status"] == "delivered"  # and nothing was changed by trying
    assert (await house.inside.call("GET", f"/v1/webhooks/{house.ids['endpoint_id']}", key=house.owner)).status == 200
    assert (await house.inside.call("GET", f"/v1/keys/{house.ids['key_id']}", key=house.owner)).json[
        "revoked_at"
    ] is None


class Saboteur:
    """A connection whose statements have lost their project filter."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, *values: Any) -> Any:
        """Every `project = ?` holds."""
        return self._connection.execute(re.sub(r"((?:\w+\.)?project) = (\?\d?)", r"(\1 = \2 or 1)", sql), *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_without_the_filter_in_reads_the_matrix_finds_leaks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = house.inside.services.store.engine
    read = engine.read

    async def sabotaged(fn: Callable[[Any], Any]) -> Any:
        return await read(lambda connection: fn(Saboteur(connection)))

    monkeypatch.setattr(engine, "read", sabotaged)
    found = await leaks(house)
    for path in (
        "/v1/messages", "/v1/messages/{message_id}", "/v1/messages/{message_id}/events", "/v1/events", "/v1/inbound",
        "/v1/inbound/{inbound_id}", "/v1/keys", "/v1/keys/{key_id}", "/v1/stream?after=0", "/v1/suppressions",
    ):  # fmt: skip
        assert any(leak.startswith(f"GET {path}") for leak in found), f"the matrix is blind to {path}: {found}"


async def test_without_the_filter_in_writes_the_matrix_finds_leaks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = house.inside.services.store.engine
    monkeypatch.setattr(engine._writer, "_connection", Saboteur(engine.writer))
    found = await leaks(house)
    assert any(leak.startswith("DELETE /v1/keys/{key_id}") for leak in found), found
