"""Choosing a carrier: which route decides, in which shares, and what health and earlier tries change."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.domain.message import Message, Personal
from tidings.kit.ids import new_id
from tidings.routing import choose
from tidings.routing.choose import Candidate, Table, candidates, round_of
from tidings.routing.match import Placed
from tidings.routing.route import Route, Target, missing, problems

IDS = [new_id("msg") for _ in range(4_000)]


def message(to: str = "+447700900123", id: str = "msg_1", **fields: Any) -> Message:
    personal = Personal(to=to, sender=fields.pop("sender", None))
    row: dict[str, Any] = {"project": "prj_a", "mode": "live", "channel": "sms", "lane": "transactional"}
    return Message(**({"id": id, "created_ms": 0, "due_ms": 0, "personal": personal} | row | fields))


def carrier(name: str, **fields: Any) -> Candidate:
    row: dict[str, Any] = {"channel": "sms", "project": "", "sandbox": False, "usable": True}
    return Candidate(name=name, **(row | fields))


def route(name: str, *targets: str | Target, **fields: Any) -> Route:
    """Targets by name, or whole."""
    made = [Target(provider=target) if isinstance(target, str) else target for target in targets]
    fields = {"lanes" if k == "class_" else "senders" if k == "from_" else k: v for k, v in fields.items()}
    return Route(name=name, targets=made, **fields)


FLEET = [carrier("a"), carrier("b"), carrier("c"), carrier("mail", channel="email"), carrier("box", sandbox=True)]


def table(*routes: Route | Placed, fleet: list[Candidate] = FLEET) -> Table:
    return Table(fleet, [one if isinstance(one, Placed) else Placed("", one) for one in routes])


DECIDES: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("no route", [], {}, ""),
    ("one for everything", [route("all", "a")], {}, "all"),
    ("a prefix", [route("uk", "a", to=["+44"]), route("all", "b")], {}, "uk"),
    ("another prefix", [route("us", "a", to=["+1"]), route("all", "b")], {}, "all"),
    ("the longer prefix", [route("a", "a", to=["+44"]), route("b", "b", to=["+4477"])], {}, "b"),
    ("the whole number", [route("a", "a", to=["+44770090012"]), route("b", "b", to=["+447700900123"])], {}, "b"),
    ("priority before length", [route("a", "a", to=["+44"], priority=1), route("b", "b", to=["+4477"])], {}, "a"),
    ("name where all is equal", [route("z", "a"), route("y", "b")], {}, "y"),
    ("a country", [route("gb", "a", to=["GB"]), route("all", "b")], {}, "gb"),
    ("a country of a shared code", [route("ca", "a", to=["CA"]), route("n", "b", to=["+1"])], {"to": "+16135550123"}, "ca"),
    ("the other country of it", [route("ca", "a", to=["CA"]), route("n", "b", to=["+1"])], {"to": "+12125550123"}, "n"),
    ("a prefix beyond the country", [route("gb", "a", to=["GB"]), route("m", "b", to=["+447"])], {}, "m"),
    ("class", [route("otp", "a", class_=["otp"]), route("x", "b")], {"lane": "otp"}, "otp"),
    ("other class", [route("otp", "a", class_=["otp"]), route("x", "b")], {}, "x"),
    ("tag", [route("t", "a", tags=["vip", "gold"]), route("x", "b")], {"tags": ("gold",)}, "t"),
    ("no such tag", [route("t", "a", tags=["vip"]), route("x", "b")], {"tags": ("gold",)}, "x"),
    ("sender", [route("s", "a", from_=["ACME"]), route("x", "b")], {"sender": "ACME"}, "s"),
    ("no sender", [route("s", "a", from_=["ACME"]), route("x", "b")], {}, "x"),
    ("channel", [route("m", "mail", channels=["email"]), route("s", "a", channels=["sms"])], {}, "s"),
    ("its own project first", [route("a", "a", priority=1), Placed("prj_a", route("b", "b"))], {}, "b"),
    ("never another's", [Placed("prj_b", route("b", "b")), route("a", "a")], {}, "a"),
    ("a mail domain", [route("d", "mail", to=["@example.com"])], {"to": "X@EXAMPLE.com", "channel": "email"}, "d"),
    ("a mail domain whole", [route("d", "mail", to=["@example.com"])], {"to": "x@an.example.com", "channel": "email"}, ""),
    ("a test key passes routes by", [route("all", "a")], {"mode": "test"}, ""),
    ("but not the sandbox's", [route("all", "box")], {"mode": "test"}, "all"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "routes", "fields", "expected"), DECIDES, ids=[case[0] for case in DECIDES])
def test_which_route_decides(case: str, routes: list[Any], fields: dict[str, Any], expected: str) -> None:
    choice = table(*routes).choose(message(**fields))
    assert choice is not None
    assert choice.route == expected


@pytest.mark.parametrize(
    ("routes", "fleet"),
    [
        ([route("all", "gone")], FLEET),
        ([route("all", "mail")], FLEET),
        ([route("all", "box")], FLEET),
        ([route("all", "a", needs=["receipts"])], FLEET),
        ([route("all", "theirs")], [*FLEET, carrier("theirs", project="prj_b")]),
        ([], [carrier("mail", channel="email")]),
    ],
)
def test_a_live_message_whose_route_has_nobody_goes_nowhere(routes: list[Route], fleet: list[Candidate]) -> None:
    assert table(*routes, fleet=fleet).choose(message()) is None


def test_without_routes_the_first_carries_and_the_others_stand_by() -> None:
    fleet = [carrier("b"), carrier("a"), carrier("own", project="prj_a"), carrier("off", usable=False)]
    choice = table(fleet=fleet).choose(message())
    assert choice is not None
    assert [choice.provider, *choice.others] == ["own", "a", "b", "off"]
    assert candidates(fleet, "prj_a", "live", "sms") == ["own", "a", "b", "off"]


def shares_of(book: Table, shares: dict[str, float] | None = None, **fields: Any) -> dict[str, float]:
    """Which part of the messages each provider is first for."""
    firsts = [book.choose(message(id=id, **fields), shares or {}) for id in IDS]
    counts = Counter(choice.provider for choice in firsts if choice is not None)
    return {name: count / len(IDS) for name, count in counts.items()}


WEIGHTS = [
    ({"a": 1, "b": 1}, {}, {"a": 0.5, "b": 0.5}),
    ({"a": 3, "b": 1}, {}, {"a": 0.75, "b": 0.25}),
    ({"a": 98, "b": 1, "c": 1}, {}, {"a": 0.98, "b": 0.01, "c": 0.01}),
    ({"a": 1, "b": 0}, {}, {"a": 1.0}),
    ({"a": 1, "b": 0}, {"a": 0.0}, {"b": 1.0}),
    ({"a": 1, "b": 1}, {"a": 0.1}, {"a": 0.05, "b": 0.95}),
    ({"a": 1, "b": 1, "c": 2}, {"c": 0.0}, {"a": 0.5, "b": 0.5}),
    ({"a": 1, "b": 1}, {"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 0.5}),
]


@pytest.mark.parametrize(("weights", "ill", "expected"), WEIGHTS)
def test_shares(weights: dict[str, float], ill: dict[str, float], expected: dict[str, float]) -> None:
    found = shares_of(table(route("all", *(Target(provider=n, weight=w) for n, w in weights.items()))), ill)
    assert found.keys() == expected.keys()
    for name, share in expected.items():
        assert found[name] == pytest.approx(share, abs=0.03)


def test_an_ill_provider_moves_only_its_own_messages() -> None:
    book = table(route("all", "a", "b", "c"))
    before = {id: book.choose(message(id=id)).provider for id in IDS}  # type: ignore[union-attr]
    after = {id: book.choose(message(id=id), {"c": 0.1}).provider for id in IDS}  # type: ignore[union-attr]
    assert all(after[id] == before[id] for id in IDS if before[id] != "c")
    kept = [after[id] for id in IDS if before[id] == "c"]
    assert kept.count("c") / len(kept) == pytest.approx(0.1, abs=0.03)
    assert kept.count("a") == pytest.approx(kept.count("b"), rel=0.2)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_more_health_never_takes_a_message_away(steps: list[float]) -> None:
    book, kept = table(route("all", "a", "b")), set[str]()
    for share in sorted(steps):
        now = {id for id in IDS[:100] if book.choose(message(id=id), {"a": share}).provider == "a"}  # type: ignore[union-attr]
        assert kept <= now or share == 0
        kept = now if share > 0 else kept


def test_the_same_choice_everywhere() -> None:
    routes = [route("all", "a", "b", "c"), route("uk", "c", "a", to=["+44"])]
    one, other = table(*routes), table(*routes[::-1], fleet=FLEET[::-1])
    assert [one.choose(message(id=id)) for id in IDS[:200]] == [other.choose(message(id=id)) for id in IDS[:200]]


PRICED = [Target(provider="a", cost_per_part=0.03), Target(provider="b", cost_per_part=0.01), Target(provider="c")]


def test_the_cheapest_that_is_fit() -> None:
    book = table(route("all", *PRICED, prefer="cost"))
    first = book.choose(message())
    assert first is not None
    assert [first.provider, *first.others] == ["b", "a", "c"]
    assert first.costs == {"a": 0.03, "b": 0.01}
    assert shares_of(book, {"b": 0.25}) == pytest.approx({"b": 0.25, "a": 0.75}, abs=0.03)


def test_what_was_tried_comes_last() -> None:
    book = table(route("all", "a", "b", "c", prefer="order"))
    order = [book.choose(message(), tried=tried) for tried in ([], ["a"], ["a", "b"], ["a", "b", "c"])]
    assert [choice.provider for choice in order if choice is not None] == ["a", "b", "c", "a"]
    assert order[1].others == ("c", "a")  # type: ignore[union-attr]


ANOTHER: list[tuple[list[str], dict[str, float], str | None]] = [
    (["a"], {}, "b"),
    (["a", "b"], {}, "c"),
    (["a", "b", "c"], {}, None),
    (["a"], {"b": 0.0}, "c"),
    (["a"], {"b": 0.0, "c": 0.0}, None),
]


@pytest.mark.parametrize(("tried", "ill", "expected"), ANOTHER)
def test_who_is_next_at_once(tried: list[str], ill: dict[str, float], expected: str | None) -> None:
    assert table(route("all", "a", "b", "c", prefer="order")).another(message(), ill, tried) == expected


def test_nobody_is_next_where_there_is_but_one_or_the_other_is_paused() -> None:
    assert table(route("all", "a")).another(message(), {}, ["a"]) is None
    fleet = [carrier("a"), carrier("b", usable=False)]
    assert table(route("all", "a", "b"), fleet=fleet).another(message(), {}, ["a"]) is None
    assert table(route("all", "a", "b"), fleet=fleet).choose(message(id="x")).provider == "a"  # type: ignore[union-attr]


ROUNDS = [([], ()), (["a"], ("a",)), (["a", "b"], ("a", "b")), (["a", "b", "a"], ("a",)), (["a", "a"], ("a",))]


@pytest.mark.parametrize(("attempted", "expected"), ROUNDS)
def test_rounds(attempted: list[str], expected: tuple[str, ...]) -> None:
    assert round_of(attempted) == expected


def test_needs() -> None:
    fleet = [carrier("a"), carrier("b", capabilities=frozenset({"receipts", "media"}))]
    choice = table(route("all", "a", "b", needs=["receipts"], no_receipt_s=5), fleet=fleet).choose(message())
    assert choice is not None
    assert (choice.provider, choice.others) == ("b", ())
    assert choice.no_receipt_s == 0, "there is nobody to go to"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"to": ["44"]}, "/to/0", "invalid_destination"),
    ({"to": ["+44", "XX"]}, "/to/1", "invalid_destination"),
    ({"to": ["+0"]}, "/to/0", "invalid_destination"),
    ({"to": ["x@y"]}, "/to/0", "invalid_destination"),
    ({"targets": [Target(provider="a"), Target(provider="a")]}, "/targets/1/provider", "repeated"),
    ({"targets": [Target(provider="a", weight=0)]}, "/targets", "no_weight"),
    ({"prefer": "cost"}, "/targets/0/cost_per_part", "required"),
    ({"no_receipt_s": 0.5}, "/no_receipt_s", "range"),
]


@pytest.mark.parametrize(("fields", "pointer", "code"), WRONG)
def test_what_is_wrong_with_a_route(fields: dict[str, Any], pointer: str, code: str) -> None:
    wrong = Route(**({"name": "r", "targets": [Target(provider="a")]} | fields))
    assert [(error.pointer, error.code) for error in problems(wrong)] == [(pointer, code)]


def test_names_that_nobody_knows() -> None:
    found = missing(route("r", "a", "x", channels=["sms", "fax"]), ["sms"], ["a"])
    assert [(error.pointer, error.code) for error in found] == [
        ("/channels/1", "unsupported"),
        ("/targets/1/provider", "unknown_provider"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "UK", "targets": [{"provider": "a"}]}',
        '{"name": "uk", "targets": []}',
        '{"name": "uk", "targets": [{"provider": "a", "weight": -1}]}',
        '{"name": "uk", "targets": [{"provider": "a", "price": 1}]}',
        '{"name": "uk", "targets": [{"provider": "a"}], "needs": ["magic"]}',
    ],
)
def test_what_is_no_route(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Route)


def test_saboteur_draws_that_depend_on_the_message_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = choose._draw  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(choose, "_draw", lambda id, name, what=b"": real(id, ""))
    with pytest.raises(AssertionError):
        test_shares(*WEIGHTS[1])
