"""When people last wrote to us."""

from tidings.store.contract import InboundRow
from tidings.store.sqlite.link import Connection, rows
from tidings.store.windows import forgotten_before, windows_of


def opened(connection: Connection, items: list[InboundRow]) -> None:
    """These people have written; an older message that comes late closes nothing."""
    found = windows_of(items)
    if not found:
        return
    latest = max(item.received_ms for item in items)
    connection.execute("delete from windows where wrote_ms < ?", (forgotten_before(latest),))
    connection.execute(
        "insert into windows select value->>0, value->>1, value->>2 from json_each(?) where true"
        " on conflict do update set wrote_ms = max(wrote_ms, excluded.wrote_ms)",
        rows(found),
    )


def last(connection: Connection, provider: str, hashes: list[str]) -> dict[str, int]:
    """When each of these people last wrote through the provider. A read."""
    sql = "select w.from_hash, w.wrote_ms from json_each(?2) e join windows w on w.provider = ?1 and w.from_hash = e.value"
    return {str(row[0]): int(row[1]) for row in connection.execute(sql, (provider, *rows(hashes)))}  # pyright: ignore
