"""What only a database of many writers has: nodes side by side, transactions left open, plans made too early."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from store_nodes import node, session, url
from store_world import DAY, MINUTE, NOW, PROJECT, World, execute
from tidings.store.contract import InboundPartRow

__all__ = ["url"]


async def test_workers_never_share_a_job(url: str) -> None:
    async with node(url) as one, node(url) as two, node(url) as three:
        made = [one.message(project=f"prj_{n % 3}", lane=n % 3) for n in range(300)]
        await one.accept(*made)

        async def work(world: World, name: str) -> list[str]:
            taken: list[str] = []
            while ids := await world.leased_ids(room=(7, 14, 21), owner=name):
                taken += ids
            return taken

        taken = await asyncio.gather(*(work(w, f"w{n}") for n, w in enumerate((one, two, three)) for _ in range(2)))
        leased = [id for ids in taken for id in ids]
        assert len(leased) == len(set(leased))
        # a worker that met only locked rows may have stopped early: what is left over is due to the next one
        leased += await work(one, "w9")
        assert sorted(leased) == sorted(m.id for m in made)


async def test_nodes_with_one_idempotency_key(url: str) -> None:
    async with node(url) as one, node(url) as two:
        for n in range(10):
            batch = [f"k{n}-{key}" for key in range(5)]
            answers = await asyncio.gather(
                *(
                    world.store.accepting.accept([world.message(key_hash=key, body_hash="b") for key in keys])
                    for world in (one, two)
                    for keys in (batch, batch[::-1])
                )
            )
            by_key: dict[str, list[Any]] = {}
            for keys, answer in zip((batch, batch[::-1]) * 2, answers, strict=True):
                for key, accepted in zip(keys, answer, strict=True):
                    by_key.setdefault(key, []).append(accepted)
            for accepted in by_key.values():
                assert [a.kind for a in accepted].count("new") == 1
                assert len({a.id for a in accepted}) == 1
        assert await one.waiting() == 50


async def test_receipts_on_one_node_and_answers_on_another(url: str) -> None:
    """Whichever commits first, each receipt finds its message."""
    async with node(url) as one, node(url) as two:
        pairs = [await one.started(f"+4917{n:05}") for n in range(60)]
        two.epoch = one.epoch
        settle = [one.settle(begin, "sent", refs=(f"r{n}",)) for n, (_, begin) in enumerate(pairs)]
        receive = [two.receive(f"r{n}", f"+4917{n:05}") for n in range(60)]
        await asyncio.gather(*(call for both in zip(settle, receive, strict=True) for call in both))
        assert {await one.status(message) for message, _ in pairs} == {"delivered"}
        assert await one.store.lists.receipts(None, None, 100) == []


async def test_unknown_on_one_node_and_its_receipt_on_another(url: str) -> None:
    async with node(url) as one, node(url) as two:
        pairs = [await one.started(f"+4917{n:05}") for n in range(40)]
        calls = [one.settle(begin, "unknown", due_ms=NOW + MINUTE) for _, begin in pairs]
        calls += [two.receive(f"r{n}", f"+4917{n:05}") for n in range(40)]  # pyright: ignore
        await asyncio.gather(*(calls[n // 2 + 40 * (n % 2)] for n in range(80)))
        assert {await one.status(message) for message, _ in pairs} == {"delivered"}
        assert await one.waiting() == 0


async def test_both_halves_of_a_message_on_two_nodes(url: str) -> None:
    """Two binds to one carrier: each gets receipts for parts of the same messages, in any order, at the same moment."""
    async with node(url) as one, node(url) as two:
        made = [await one.sent(f"+4917{n:05}", refs=(f"a{n}", f"b{n}")) for n in range(30)]
        first = [one.receipt(f"a{n}", f"+4917{n:05}") for n in range(30)]
        second = [two.receipt(f"b{n}", f"+4917{n:05}") for n in reversed(range(30))]
        answers = await asyncio.gather(one.store.receipts.receive(first), two.store.receipts.receive(second))
        assert answers == [[True] * 30] * 2
        assert {await one.status(message) for message in made} == {"delivered"}


async def test_the_next_of_a_sequence_is_never_forgotten(url: str) -> None:
    """Each joins at the moment when the one before leaves."""
    async with node(url) as one, node(url) as two:
        message = one.message(sequence="s")
        await one.accept(message)
        for _ in range(30):
            following = one.message(sequence="s")
            (leased,) = await one.leased_ids()
            assert leased == message.id
            await asyncio.gather(two.accept(following), one.store.jobs.end([one.end(message, "failed")]))
            message = following
        assert await one.leased_ids() == [message.id]


async def test_parts_on_two_nodes_are_completed_once(url: str) -> None:
    async with node(url) as one, node(url) as two:
        for ref in range(15):
            parts = [InboundPartRow("p1", "f", "t", ref, 2, n, "k1", "sealed", NOW) for n in (1, 2)]
            answers = await asyncio.gather(
                one.store.inbound.keep_parts(parts[:1]), two.store.inbound.keep_parts(parts[1:])
            )
            assert sorted(len(answer[0]) for answer in answers) == [0, 2]
            key = ("p1", "f", "t", ref, 2)
            taken = await asyncio.gather(*(w.store.inbound.receive([w.inbound(of=key)]) for w in (one, two)))
            assert sorted(answer[0] is None for answer in taken) == [False, True]


async def test_what_only_one_node_may_write(url: str) -> None:
    async with node(url) as one, node(url) as two:
        message = await one.sent()
        found = await asyncio.gather(*(w.store.overdue.find(NOW + DAY, NOW + DAY) for w in (one, two)))
        await asyncio.gather(*(w.store.overdue.record(f) for w, f in zip((one, two), found, strict=True)))
        assert (await one.log(message)).count("message.receipt_overdue") == 1
        epochs = await asyncio.gather(
            *(w.store.attempts.acquire("p1", f"n{n}", NOW) for n in range(5) for w in (one, two))
        )
        assert len(set(epochs)) == 10


async def test_taking_the_binds_waits_for_attempts_being_stored(url: str) -> None:
    """An attempt of the epoch before is committed before the new owner hears that it is one, or is refused."""
    async with node(url) as one, node(url) as two, session(url) as open_one:
        message = one.message(owner="w1", job_due_ms=NOW + DAY)
        await one.accept(message)
        transaction = open_one.transaction()
        await transaction.start()
        await open_one.execute("select 1 from messages where id = $1 for update", message.id)
        begin = asyncio.create_task(one.begun(message))
        await waiting_for_a_lock(open_one)
        acquire = asyncio.create_task(two.store.attempts.acquire("p1", "node-2", NOW))
        await waiting_for_a_lock(open_one, 2)
        assert not acquire.done()
        await transaction.rollback()
        assert (await begin).kind == "ok"
        assert await acquire > one.epoch
        assert (await one.begun(message)).kind == "not_owner"


async def waiting_for_a_lock(raw: asyncpg.Connection[Any], count: int = 1) -> None:
    sql = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with asyncio.timeout(30):
        while await raw.fetchval(sql) < count:
            await asyncio.sleep(0.01)


async def test_followers_wait_for_an_open_transaction_and_miss_nothing(url: str) -> None:
    """The transaction that began first commits last: its events come first, and no cursor has passed them."""
    async with node(url) as world, session(url) as slow:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(
            "insert into events (seq, project, id, type, message, at_ms)"
            " select (base + pg_current_xact_id()::text::bigint) * 16384, $1, 'evt_slow', 'message.accepted', null, $2"
            " from log_base",
            PROJECT,
            NOW,
        )
        quick = world.message()
        await world.accept(quick)
        hooks, lists = world.store.webhooks, world.store.lists
        end = await lists.log_end()
        assert (await lists.follow(world.ring, PROJECT, 0, 10))[0] == []
        assert await hooks.news(0, 10) == ({}, 0)
        assert (await hooks.follow(world.ring, PROJECT, 0, [], (9, 9), False)).upto == 0
        assert end == 0
        assert (await world.store.overdue.find(NOW + DAY, NOW)).upto == 0
        assert await world.status(quick) == "accepted", "only the log waits"
        assert await world.leased_ids() == [quick.id]
        await transaction.commit()
        events, _ = await lists.follow(world.ring, PROJECT, end, 10)
        assert [e.id for e in events] == ["evt_slow", quick.event]
        assert events[0].seq < events[1].seq


async def test_a_follower_misses_nothing_under_load(url: str) -> None:
    """Cursors move while four writers of two nodes commit out of order."""
    async with node(url) as one, node(url) as two:
        made = [[world.message(created_ms=NOW + n) for n in range(150)] for world in (one, two)]
        seen: list[str] = []
        done = asyncio.Event()

        async def follow() -> None:
            after = 0
            while True:
                last = done.is_set()
                events, _ = await one.store.lists.follow(one.ring, PROJECT, after, 50)
                if not events and last:
                    return
                for event in events:
                    assert event.seq > after
                    after = event.seq
                    seen.append(event.id)

        async def write(world: World, messages: list[Any]) -> None:
            await asyncio.gather(*(world.store.accepting.accept([m]) for m in messages))
            await asyncio.gather(*(world.store.jobs.end([world.end(m, "failed")]) for m in messages))

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            await asyncio.gather(*(write(w, m) for w, m in zip((one, two), made, strict=True)))
            done.set()
        assert len(seen) == len(set(seen)) == 600


async def test_a_copy_in_another_server_goes_on_behind_its_log(url: str) -> None:
    """Restored from a dump, the database meets a server that has counted fewer transactions."""
    async with node(url) as world:
        await world.accept(world.message())
        await execute(world.store, "update events set seq = seq + 5000000 * 16384::bigint")
    async with node(url) as world, node(url) as other:
        end = await world.store.lists.log_end()
        assert end > 5_000_000 * 16384
        message = world.message()
        await world.accept(message)
        events, _ = await other.store.lists.follow(world.ring, PROJECT, end, 10)
        assert [e.message for e in events] == [message.id]


async def test_calls_that_pile_up_are_one_commit(url: str) -> None:
    async with node(url) as world:
        before = world.store.engine.commits
        await asyncio.gather(*(world.accept(world.message()) for _ in range(500)))
        assert world.store.engine.commits - before <= 3
        assert await world.waiting() == 500


async def flush_statistics(world: World) -> None:
    """What the engine's own connections have counted so far is written down now, not within the next second."""
    engine: Any = world.store.engine
    for link in (*engine._writers, *engine._readers):
        raw = await link.raw(asyncio.get_running_loop().time() + 30)
        await raw.execute("select pg_stat_force_next_flush()")


async def one_of_each(world: World, n: int) -> None:
    """What happens to a message, once."""
    message, begin = await world.started(f"+4917{n}")
    await world.settle(begin, "sent", refs=(f"r{n}",))
    await world.receive(f"r{n}", f"+4917{n}", state="undelivered")
    await world.receive(f"r{n}", f"+4917{n}")
    await world.store.messages.with_attempts(world.ring, PROJECT, message.id)
    await world.accept(world.message(lane=n % 3))
    await world.lease(room=(1, 1, 1))


async def test_no_plan_walks_a_table(url: str) -> None:
    """Plans are made while the tables are empty and kept: they must go by whole keys all the same."""
    async with node(url) as world:
        for start in (0, 3, 1_000, 2_000):
            made = [world.message(f"+49{n}", owner="w1", job_due_ms=NOW + DAY) for n in range(start, start + 1_000)]
            await world.accept(*made)
            begins = [world.attempt(message) for message in made]
            await world.store.attempts.begin(begins)
            await world.store.attempts.settle([world.settlement(b, "sent", refs=(b.attempt,)) for b in begins])
        await one_of_each(world, 8)
        await flush_statistics(world)
        async with session(url) as raw:
            await raw.execute("select pg_stat_reset()")
        for n in range(8):
            await one_of_each(world, n)
        await flush_statistics(world)
    async with session(url) as raw:
        read = await raw.fetch(
            "select relname, seq_tup_read, (select coalesce(sum(i.idx_tup_read), 0) from pg_stat_user_indexes i"
            " where i.relid = t.relid) from pg_stat_user_tables t"
            " where relname in ('messages', 'personal', 'jobs', 'attempts', 'refs', 'events')"
        )
        by_table = {row[0]: (row[1], int(row[2])) for row in read}
        assert all(scanned == 0 and looked_up < 400 for scanned, looked_up in by_table.values()), by_table
        assert by_table["messages"][1] > 0
