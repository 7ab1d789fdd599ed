"""`/v1/routes` through the whole application: made, read, changed, removed; and what a message's preview says of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from http_inside import Inside, inside
from tidings.cli import app
from tidings.domain.errors import SettingsError
from tidings.settings import load

PROVIDER = {"type": "sms.smpp", "config": {"host": "127.0.0.1", "port": 9, "system_id": "x", "password": "x"}}
UK = {
    "name": "uk", "to": ["+44", "IE"], "class": ["otp"], "tags": ["vip"], "from": ["ACME"], "channels": ["sms"],
    "targets": [{"provider": "a", "weight": 3, "cost_per_part": 0.02}, {"provider": "b"}], "no_receipt_s": 30,
    "needs": ["receipts"], "priority": 7, "prefer": "order",
}  # fmt: skip


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as made:
        for name in ("a", "b"):
            answer = await made.call("POST", "/v1/providers", PROVIDER | {"name": name}, key=made.live_key)
            assert answer.status == 201, answer.json
        yield made


async def make(running: Inside, **fields: Any) -> Any:
    answer = await running.call("POST", "/v1/routes", UK | fields, key=running.live_key)
    assert answer.status == 201, answer.json
    return answer.json


async def test_a_route_from_its_making_to_its_end(running: Inside) -> None:
    key = running.live_key
    made = await make(running)
    assert re.fullmatch("rte_[0-9a-f]{32}", made["id"])
    shown = {name: made[name] for name in UK}
    assert shown == UK | {
        "targets": [
            {"provider": "a", "weight": 3.0, "cost_per_part": 0.02, "share": 1.0},
            {"provider": "b", "weight": 1.0, "cost_per_part": None, "share": 1.0},
        ]
    }
    assert made["origin"] == "api"
    for name in ("uk", made["id"]):
        assert (await running.call("GET", f"/v1/routes/{name}", key=key)).json == made
    new = {"name": "all", "targets": [{"provider": "b"}]}
    changed = (await running.call("PUT", f"/v1/routes/{made['id']}", new, key=key)).json
    assert (changed["id"], changed["name"], changed["to"], changed["prefer"]) == (made["id"], "all", [], "weight")
    assert (await running.call("GET", "/v1/routes", key=key)).json == {"data": [changed], "next_cursor": None}
    assert (await running.call("DELETE", f"/v1/routes/{made['id']}", key=key)).status == 204
    for method in ("GET", "PUT", "DELETE"):
        answer = await running.call(method, f"/v1/routes/{made['id']}", new if method == "PUT" else None, key=key)
        assert answer.status == 404


async def test_pages(running: Inside) -> None:
    for name in ("c", "a", "b"):
        await make(running, name=name)
    first = (await running.call("GET", "/v1/routes?limit=2", key=running.live_key)).json
    assert [view["name"] for view in first["data"]] == ["a", "b"]
    rest = (await running.call("GET", f"/v1/routes?limit=2&cursor={first['next_cursor']}", key=running.live_key)).json
    assert [view["name"] for view in rest["data"]] == ["c"]
    assert rest["next_cursor"] is None


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"to": ["44", "+44"], "targets": [{"provider": "a", "weight": -1}]}, ["/targets/0/weight", "/to/0"]),
    ({"targets": [{"provider": "nobody"}], "channels": ["fax"]}, ["/channels/0", "/targets/0/provider"]),
    ({"name": "UK!", "needs": ["magic"]}, ["/name", "/needs/0"]),
    ({"prefer": "cost"}, ["/targets/1/cost_per_part"]),
    ({"weights": 1}, ["/weights"]),
]


@pytest.mark.parametrize(("fields", "pointers"), BAD)
async def test_every_bad_field_at_once(running: Inside, fields: dict[str, Any], pointers: list[str]) -> None:
    answer = await running.call("POST", "/v1/routes", UK | fields, key=running.live_key)
    assert answer.status == 422
    assert sorted(error["pointer"] for error in answer.json["errors"]) == pointers


async def test_names_keys_and_other_projects(running: Inside) -> None:
    key = running.live_key
    headers = {"Idempotency-Key": "k1"}
    first = await running.call("POST", "/v1/routes", UK, key=key, headers=headers)
    again = await running.call("POST", "/v1/routes", UK, key=key, headers=headers)
    assert again.json == first.json
    assert again.headers["idempotency-replayed"] == "true"
    taken = await running.call("POST", "/v1/routes", UK, key=key)
    assert (taken.status, taken.json["code"]) == (409, "name_taken")
    reused = await running.call("POST", "/v1/routes", UK | {"name": "x"}, key=key, headers=headers)
    assert (reused.status, reused.json["code"]) == (422, "idempotency_key_reused")
    project = (await running.call("POST", "/v1/projects", {"name": "other"}, key=key)).json["id"]
    wanted = {"name": "o", "mode": "live", "scopes": ["*"], "project": project}
    other = (await running.call("POST", "/v1/keys", wanted, key=key)).json["key"]
    assert (await running.call("GET", "/v1/routes", key=other)).json["data"] == []
    assert (await running.call("GET", "/v1/routes/uk", key=other)).status == 404
    answer = await running.call("POST", "/v1/routes", UK, key=other)
    assert [error["code"] for error in answer.json["errors"]] == ["unknown_provider"] * 2, "they are not its own"


async def preview(running: Inside, **fields: Any) -> Any:
    body = {"to": "+447700900123", "text": "x" * 200, **fields}
    answer = await running.call("POST", "/v1/messages/preview", body, key=running.live_key)
    assert answer.status == 200, answer.json
    return answer.json


async def test_a_preview_shows_route_and_cost(running: Inside) -> None:
    plain = await preview(running)
    assert plain["route"] == {"name": None, "provider": "a", "alternatives": ["b"], "cost_per_part": None}
    assert plain["estimated_cost"] is None
    await make(running, **{"class": [], "tags": [], "from": []})
    shown = await preview(running)
    assert shown["route"] == {"name": "uk", "provider": "a", "alternatives": ["b"], "cost_per_part": 0.02}
    assert (shown["parts"], shown["estimated_cost"]) == (2, 0.04)
    assert (await preview(running, to="+4915112345678"))["route"]["name"] is None
    await make(
        running,
        name="de",
        to=["DE"],
        targets=[{"provider": "b", "cost_per_part": 0.1}],
        **{"class": [], "tags": [], "from": []},
    )
    assert (await preview(running, to="+4915112345678"))["route"]["provider"] == "b"


async def test_the_health_of_a_carrier_is_shown_and_told(running: Inside) -> None:
    await make(running)
    key = running.live_key
    while (view := (await running.call("GET", "/v1/providers/a", key=key)).json)["share"] > 0:
        assert view["degraded"] is None  # nobody listens on port 9: after a second it is out
        await asyncio.sleep(0.05)
    assert view["degraded"] == "link_down"
    assert (await running.call("GET", "/v1/routes/uk", key=key)).json["targets"][0]["share"] == 0
    while not (found := (await running.call("GET", "/v1/events?types=provider.degraded", key=key)).json["data"]):
        await asyncio.sleep(0.05)
    assert {event["data"]["provider"] for event in found} <= {"a", "b"}
    assert found[0]["data"]["reason"] == "link_down"


TOML = """
[[routes]]
name = "uk"
to = ["+44"]
class = ["otp"]
prefer = "cost"
targets = [{ provider = "a", cost_per_part = 0.02 }, { provider = "b", cost_per_part = 0.03 }]
"""


def test_routes_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "tidings.toml"
    path.write_text(TOML)
    [route] = load(path).routes
    assert (route.name, route.to, route.lanes, route.prefer) == ("uk", ["+44"], ["otp"], "cost")
    for bad, told in [
        (TOML.replace("+44", "44"), r"routes\[0\] \(uk\)\.to\.0: must be a prefix"),
        (TOML + TOML, r"routes\[1\] \(uk\): the name is taken"),
        (TOML.replace("cost_per_part = 0.03", "price = 1"), "unknown field `price`"),
    ]:
        path.write_text(bad)
        with pytest.raises(SettingsError, match=told):
            load(path)


async def test_routes_of_the_settings_are_read_only(running: Inside) -> None:
    from tidings.routing.route import Route, Target

    node: Any = running.services.callbacks
    node._roster._routes = (Route(name="uk", targets=[Target(provider="a")]),)
    await node._roster.reread()
    key = running.live_key
    assert (await preview(running))["route"]["name"] == "uk"
    [view] = (await running.call("GET", "/v1/routes", key=key)).json["data"]
    assert (view["id"], view["origin"], view["created_at"]) == ("rte_uk", "config", None)
    for method in ("PUT", "DELETE"):
        answer = await running.call(method, "/v1/routes/uk", UK if method == "PUT" else None, key=key)
        assert (answer.status, answer.json["code"]) == (409, "read_only")


def test_a_target_that_is_none() -> None:
    told = CliRunner().invoke(app, ["routes", "add", "x", "--target", "a=many"])
    assert "PROVIDER=WEIGHT@COST_PER_PART" in json.dumps(str(told.exception))
