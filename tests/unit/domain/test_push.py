"""What push tokens, subscriptions and contents must be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.domain import push
from tidings.domain.push import PushContent

P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"


def subscription(
    endpoint: Any = "https://push.example.com/1", p256dh: Any = P256DH, auth: Any = AUTH, **more: Any
) -> str:
    return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": {"p256dh": p256dh, "auth": auth}, **more})


@pytest.mark.parametrize(
    "token",
    [
        "fGw0qy4PQ3y:APA91bH-_x", "ab" * 32, "sandbox-delivered", subscription(), subscription(p256dh=P256DH + "="),
        subscription("http://localhost:8090/notify/1"), subscription("https://[2001:db8::1]:8443/p?x=1"),
    ],
)  # fmt: skip
def test_good_tokens(token: str) -> None:
    assert push.address_problem(token) is None


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "1 to 4096"), ("x" * 4_097, "1 to 4096"), ("é", "printable ASCII"), ("a\nb", "printable ASCII"), ("a b", "no spaces"),
        ("{", "no Web Push subscription"), ("{}", "endpoint"), ('{"endpoint": "https://x.example"}', "keys"),
        (subscription(7), "endpoint"), (subscription("ftp://x.example"), "https://"), (subscription("https://"), "https://"),
        (subscription("https://u:p@x.example/"), "https://"), (subscription("https://x.example:0/"), "https://"),
        (subscription("https://x.example:99999/"), "https://"), (subscription("https://x.example/#f"), "https://"),
        (subscription("https://[::1/"), "https://"), (subscription(auth="AAAA"), "auth must have 16 octets"),
        (subscription(p256dh="AAAA"), "p256dh"), (subscription(p256dh=P256DH[:-1] + "A"), "not a point"),
        (subscription(p256dh="!!!!"), "keys"), (subscription(auth=None), "auth"),
    ],
)  # fmt: skip
def test_bad_tokens(token: str, says: str) -> None:
    problem = push.address_problem(token)
    assert problem is not None
    assert says in problem
    assert token not in problem or len(token) < 2  # an address is no part of an error


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: "{" + b.decode("latin-1")))
def test_any_token_is_judged(token: str) -> None:
    assert push.address_problem(token) is None or isinstance(push.address_problem(token), str)


@pytest.mark.parametrize(
    ("content", "text", "pointers"),
    [
        ({}, None, ["/text"]), (None, None, ["/text"]), (None, "", ["/text"]), ({"badge": 3}, None, ["/text"]),
        ({"tittle": "x"}, "Hi", ["/content"]), ({"priority": "urgent"}, "Hi", ["/content"]),
        ({"data": {"n": 7}}, "Hi", ["/content"]),
        ({"ttl_s": -1, "badge": 1_000_000}, "Hi", ["/content/ttl_s", "/content/badge"]),
        ({"collapse_key": ""}, "Hi", ["/content/collapse_key"]), ({"collapse_key": "é"}, "Hi", ["/content/collapse_key"]),
        ({"sound": "", "image": "", "click_action": ""}, "Hi",
         ["/content/sound", "/content/image", "/content/click_action"]),
        ({"image": "http://x.example/1"}, "Hi", ["/content/image"]),
        ({"data": {"from": "", "google.x": "", "gcm.y": "", "aps": "", "a/b~": "", "": ""}}, "Hi",
         ["/content/data/from", "/content/data/google.x", "/content/data/gcm.y", "/content/data/aps", "/content/data/"]),
        ({"data": {push.ACK_KEY: "x"}}, "Hi", [f"/content/data/{push.ACK_KEY}"]),
        ({"data": {str(n): "" for n in range(65)}}, "Hi", ["/content/data"]), ({"title": "x" * 4_100}, None, ["/content"]),
    ],
)  # fmt: skip
def test_bad_contents(content: dict[str, Any] | None, text: str | None, pointers: list[str]) -> None:
    problems = push.problems(content, text)
    assert [problem.pointer for problem in problems] == pointers
    assert all(problem.code and problem.detail for problem in problems)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "Hi"), ({"title": "x"}, None), ({"data": {"sync": "1"}}, None), ({"body": "x", "image": "{{ picture }}"}, None),
        ({"ttl_s": 0, "badge": 0, "collapse_key": "order 7", "click_action": "OPEN"}, "Hi"),
    ],
)  # fmt: skip
def test_good_contents(content: dict[str, Any] | None, text: str | None) -> None:
    assert push.problems(content, text) == []


def test_the_body_is_the_text_where_there_is_none() -> None:
    assert push.read({"title": "T"}, "text").body == "text"
    assert push.read({"body": "own"}, "text").body == "own"
    assert push.read(None, None) == PushContent()


def test_nobody_sends_a_push() -> None:
    assert push.sender_problem("ACME")


def test_actions_and_links() -> None:
    assert (PushContent(click_action="https://x.example").link, PushContent(click_action="https://x.example").action) == (
        "https://x.example", None,
    )  # fmt: skip
    assert (PushContent(click_action="OPEN").link, PushContent(click_action="OPEN").action) == (None, "OPEN")
    assert (PushContent().link, PushContent().action) == (None, None)
