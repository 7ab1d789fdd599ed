"""Lanes, order, and one outcome for each submission."""

from tidings.channels.outbox import Item, Outbox
from tidings.domain.attempt import PartRetry, PartSent, PartUnknown, Submission
from tidings.domain.message import Lane, MessageError

BUSY = PartRetry(MessageError(code="busy", detail="Busy."))


def add(outbox: Outbox, name: str, lane: Lane = "transactional", parts: int = 1) -> None:
    outbox.add(
        Submission(
            attempt_id=name, message_id=name, lane=lane, to="1", sender=None, data_coding=0, parts=(b"x",) * parts
        )
    )


def take(outbox: Outbox, count: int, orders: list[int]) -> list[Item]:
    taken: list[Item] = []
    for _ in range(count):
        item = outbox.peek()
        assert item is not None
        outbox.pop(item)
        orders.append(len(orders) + 1)
        item.order = orders[-1]
        item.open.written += 1
        taken.append(item)
    return taken


def names(outbox: Outbox) -> list[str]:
    found: list[str] = []
    while (item := outbox.peek()) is not None:
        outbox.pop(item)
        found.append(f"{item.open.submission.attempt_id}{item.index}")
    return found


def test_strict_priority_and_order() -> None:
    outbox = Outbox()
    add(outbox, "m", "marketing")
    add(outbox, "t", "transactional", parts=2)
    add(outbox, "o", "otp")
    add(outbox, "u", "transactional")
    assert (outbox.queued, outbox.open) == (5, 4)
    assert [outbox.queued_before(lane) for lane in ("otp", "transactional", "marketing")] == [1, 4, 5]
    assert names(outbox) == ["o0", "t0", "t1", "u0", "m0"]


def test_put_back_keeps_the_order_whenever_the_refusals_come() -> None:
    outbox, orders = Outbox(), list[int]()
    for name in "abcde":
        add(outbox, name)
    a, b, c, d = take(outbox, 4, orders)
    outbox.put_back([c])
    outbox.put_back([a])
    outbox.put_back([d, b])
    assert outbox.queued == 5
    assert names(outbox) == ["a0", "b0", "c0", "d0", "e0"]


def test_one_outcome_with_every_part_in_order() -> None:
    outbox, orders = Outbox(), list[int]()
    add(outbox, "a", parts=3)
    first, second, third = take(outbox, 3, orders)
    outbox.settle(third, PartSent("3"), 1)
    outbox.settle(first, PartSent("1"), 2)
    outbox.settle(first, PartUnknown("late"), 3)  # already known: nothing changes
    assert not outbox.done
    outbox.settle(second, PartSent("2"), 4)
    (outcome,) = outbox.done
    assert outcome.parts == (PartSent("1"), PartSent("2"), PartSent("3"))
    assert (outcome.at_ms, outbox.open) == (4, 0)


def test_a_failed_part_stops_those_not_written() -> None:
    outbox, orders = Outbox(), list[int]()
    add(outbox, "a", parts=2)
    (first,) = take(outbox, 1, orders)
    outbox.settle(first, BUSY, 1)
    item = outbox.peek()
    assert item is not None
    assert item.open.stopped == BUSY


def test_unknown_does_not_stop_the_rest() -> None:
    outbox, orders = Outbox(), list[int]()
    add(outbox, "a", parts=2)
    (first,) = take(outbox, 1, orders)
    outbox.settle(first, PartUnknown("timeout"), 1)
    assert first.open.stopped is None


def test_drain_keeps_what_is_on_the_wire_in_part() -> None:
    outbox, orders = Outbox(), list[int]()
    add(outbox, "a", parts=2)
    add(outbox, "b")
    take(outbox, 1, orders)
    assert [item.open.submission.attempt_id for item in outbox.drain(keep_begun=True)] == ["b"]
    assert [item.open.submission.attempt_id for item in outbox.drain(keep_begun=False)] == ["a"]
    assert outbox.queued == 0


def test_no_parts_is_an_outcome_at_once() -> None:
    outbox = Outbox()
    add(outbox, "a", parts=0)
    assert outbox.done[0].parts == ()
