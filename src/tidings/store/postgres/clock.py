"""See store/clock.py. The clock is the database server's: nodes whose own clocks differ agree on it."""

from tidings.store.clock import MARKS_MS, PAGE, Shift
from tidings.store.postgres.session import Session

_SEEN = "select value from installation where name = 'seen_ms'"
_LAST = "select max(id) from (select id from events order by seq desc limit 1000) e"
_NOTE = "insert into installation values ('seen_ms', $1) on conflict (name) do update set value = excluded.value"


async def server_ms(session: Session) -> int | None:
    """Milliseconds since the Unix epoch. A read."""
    return int(await session.fetchval("select (extract(epoch from clock_timestamp()) * 1000)::bigint"))


async def seen_ms(session: Session) -> int | None:
    """The last time that was noted. A read."""
    value = await session.fetchval(_SEEN)
    return int(value) if value is not None else None


async def last_id(session: Session) -> str | None:
    """Of the last thousand events, for those of one moment are in no order. A read."""
    return await session.fetchval(_LAST)


async def note(session: Session, items: list[int]) -> list[None]:
    """It is the last of `items`."""
    await session.execute(_NOTE, str(items[-1]))
    return [None] * len(items)


async def claim(session: Session, items: list[tuple[int, int]]) -> list[bool]:
    """(old_ms, new_ms): whether nobody has told of this jump before. Nodes ask one after the other: the row is locked."""
    answers: list[bool] = []
    for old_ms, new_ms in items:
        value = await session.fetchval(f"{_SEEN} for update")
        first = value is None or abs(int(value) - old_ms) < abs(int(value) - new_ms)
        if first:
            await note(session, [new_ms])
        answers.append(first)
    return answers


_PAGE = """
select project, message from jobs where (project, message) > ($1, $2) order by project, message limit $3 for update"""
_SHIFT = f"""
update jobs j set
  due_ms = due_ms + (case when due_ms > (case when owner is null and kind = 'deliver' then $2::bigint else $3 end)
    and due_ms < {MARKS_MS} then $1 else 0 end),
  ready_ms = ready_ms + (case when ready_ms > $2 and ready_ms < {MARKS_MS} then $1 else 0 end)
where (project, message) > ($4, $5) and (project, message) <= ($6, $7) and (owner is not null or exists (
  select 1 from messages m where m.project = j.project and m.id = j.message and m.status <> 'scheduled'))"""


async def shift_jobs(session: Session, items: list[Shift]) -> list[tuple[str, str] | None]:
    """One page of each; where it ended, None at the end of the table."""
    answers: list[tuple[str, str] | None] = []
    for item in items:
        keys = await session.fetch(_PAGE, item.project, item.message, PAGE)
        if not keys:
            answers.append(None)
            continue
        last = (str(keys[-1][0]), str(keys[-1][1]))
        await session.execute(_SHIFT, *item, *last)
        answers.append(last if len(keys) == PAGE else None)
    return answers


_SHIFT_PARTS = """
update inbound_parts set received_ms = received_ms + $1
where case when $1 > 0 then received_ms <= $2 else received_ms > $3 end"""


async def shift_parts(session: Session, items: list[tuple[int, int, int]]) -> list[None]:
    """(by_ms, from_ms, firm_ms): see `StoreClock.shift`."""
    for item in items:
        await session.execute(_SHIFT_PARTS, *item)
    return [None] * len(items)


async def shift_deliveries(session: Session, items: list[tuple[int, int]]) -> list[None]:
    """(by_ms, from_ms)."""
    for by_ms, from_ms in items:
        await session.execute("update deliveries set next_ms = next_ms + $1 where next_ms > $2", by_ms, from_ms)
        await session.execute("update receipt_waits set due_ms = due_ms + $1 where due_ms > $2", by_ms, from_ms)
        await session.execute(
            "update verifications set expires_ms = expires_ms + $1 where status = 'pending' and expires_ms > $2",
            by_ms, from_ms,
        )  # fmt: skip
    return [None] * len(items)
