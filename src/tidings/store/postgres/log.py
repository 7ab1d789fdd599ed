"""The event log's numbers on a database with many writers: how a reader that follows a cursor misses nothing.

A number drawn from a sequence will not do. Transaction A draws 1, B draws 2 and commits first; a reader sees 2, moves its
cursor behind it, and never sees 1, which A commits a moment later. Nor is it enough to read only what transactions below
the snapshot's xmin wrote: xid and number are drawn at different moments, so A may have the smaller xid and still draw
the larger number; once A has ended the reader passes A's number, and B, still open, commits a smaller one behind it.

So the number IS the order of the transactions::

    seq = (log_base + xid) * 16384 + place within the transaction

and followers read only `seq < (log_base + xmin) * 16384`, xmin being the snapshot's oldest transaction still open.
Every transaction below xmin has ended, so its events are all there or never will be; every event that becomes visible
later has xid >= xmin and thus a number above all that was read. Nothing can appear behind a cursor, writers wait for
nobody, and one bigint does for number, order and visibility. What it costs: a transaction that stays open holds
followers back (nothing is lost, they wait), wherever in the server it runs; the sessions of Tidings end theirs within
seconds. Two committed events may also wait for the moment that a neighbour needs to commit: see `HeldBack`.

After a crash the server gives numbers again that no flushed commit had: nobody has read events under them.

xid is the 64-bit one that never wraps (`pg_current_xact_id`). Numbers stay below 2**53, what JSON readers take, for the
first 5 * 10**11 transactions of a server. `log_base` is for copies restored into another server: see link.REBASE.
"""

from typing import Any, Final

from tidings.domain.errors import StoreError
from tidings.store.postgres.rowset import rowset, turned
from tidings.store.postgres.session import HeldBack, Session

#: Events that one transaction may write.
PLACES: Final = 16_384

_APPEND = f"""
insert into events (seq, project, id, type, message, at_ms, data)
select (b.base + pg_current_xact_id()::text::bigint) * {PLACES} + e.n, e.project, e.id, e.type, e.message, e.at_ms, e.data
from {rowset("e", "n bigint, project text, id text, type text, message text, at_ms bigint, data text")}, log_base b"""
_BOUND = f"select (base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint) * {PLACES} from log_base"


async def append(session: Session) -> None:
    """Writes the events that the transaction has gathered: in the order in which they happened, before its commit."""
    events: list[tuple[Any, ...]] = session.events
    if not events:
        return
    if len(events) > PLACES:
        raise StoreError(f"one transaction may write {PLACES} events, this one has {len(events)}")
    await session.execute(_APPEND, list(range(len(events))), *turned(events))
    events.clear()


async def bound(session: Session) -> int:
    """Followers may read below this number in this snapshot."""
    return int(await session.fetchval(_BOUND))


async def end(session: Session) -> int:
    """The last number that followers may read; 0 where there is none."""
    return int(await session.fetchval("select max(seq) from events where seq < $1", await bound(session)) or 0)


async def wait_for_held(session: Session, above: int, project: str | None = None) -> None:
    """Called by a read that has nothing (new) to give. Raises HeldBack where events at `above` and later are committed and
    wait for a neighbour's commit: the engine reads again in a moment, a bounded number of times."""
    if session.final:
        return
    if project is None:
        held = await session.fetchval("select 1 from events where seq >= $1 limit 1", above)
    else:
        held = await session.fetchval("select 1 from events where project = $1 and seq >= $2 limit 1", project, above)
    if held:
        raise HeldBack
