"""The SMPP server for customers: keys by system_id, cursors with their leases, parts of long messages."""

from typing import Any

from tidings.store.accounts import StoredKey
from tidings.store.customers import KeptPart, PartRow, StoredPart
from tidings.store.sqlite import keys
from tidings.store.sqlite.link import Connection, rows

_INSERT = "insert into smpp_parts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, null)"


def by_name(connection: Connection, name: str) -> list[StoredKey]:
    """Keys that are not revoked and whose id ends so. A read."""
    found = list(
        connection.execute(
            "select project, id from keys where substr(id, -15) = ? and revoked_ms is null limit 8", (name,)
        )
    )
    loaded = [keys.get(connection, str(row[0]), str(row[1])) for row in found]
    return [key for key in loaded if key is not None]


def good(connection: Connection, wanted: list[str], now_ms: int) -> set[str]:
    """Those that are neither revoked nor expired. A read."""
    found = connection.execute(
        "select k.id from json_each(?) e cross join keys k on k.id = e.value"
        " where k.revoked_ms is null and (k.expires_ms is null or k.expires_ms > ?)",
        (*rows(wanted), now_ms),
    )
    return {str(row[0]) for row in found}


def open(connection: Connection, items: list[tuple[str, str, int]]) -> list[None]:
    """(key, project, now_ms): a cursor at the end of the log, if the key has none."""
    for key, project, now_ms in items:
        connection.execute(
            "insert or ignore into smpp_customers (key, project, cursor, created_ms)"
            " values (?, ?, (select coalesce(max(seq), 0) from events), ?)",
            (key, project, now_ms),
        )
    return [None] * len(items)


def take_over(connection: Connection, items: list[None]) -> list[None]:
    """This is the only process of the database."""
    connection.execute("update smpp_customers set owner = '', until_ms = 0 where owner <> ''")
    return [None] * len(items)


def claim(connection: Connection, items: list[tuple[str, str, int, int]]) -> list[int | None]:
    """(key, owner, now_ms, until_ms) → the cursor, or None while another process has the key."""
    answers: list[int | None] = []
    for key, owner, now_ms, until_ms in items:
        row = connection.execute(
            "update smpp_customers set owner = ?2, until_ms = ?4 where key = ?1 and (owner in ('', ?2) or until_ms <= ?3)"
            " returning cursor",
            (key, owner, now_ms, until_ms),
        ).fetchone()
        answers.append(None if row is None else int(row[0]))  # pyright: ignore[reportArgumentType]
    return answers


def save(connection: Connection, items: list[tuple[str, str, int, int]]) -> list[bool]:
    """(key, owner, cursor, until_ms; 0: the key is given back) → whether the key was this owner's."""
    answers: list[bool] = []
    for key, owner, cursor, until_ms in items:
        connection.execute(
            "update smpp_customers set cursor = max(cursor, ?3), until_ms = ?4, owner = iif(?4 = 0, '', owner)"
            " where key = ?1 and owner = ?2",
            (key, owner, cursor, until_ms),
        )
        answers.append(connection.changes() == 1)
    return answers


def keep_parts(connection: Connection, items: list[PartRow]) -> list[KeptPart]:
    """Stores parts, and closes what is complete or was left unfinished."""
    return [_keep(connection, item) for item in items]


def _keep(connection: Connection, item: PartRow) -> KeptPart:
    there = list(
        connection.execute(
            "select whole, part, id, content from smpp_parts where key = ? and grp = ? and closed = 0 order by part",
            (item.key, item.grp),
        )
    )
    same = next((row for row in there if row[1] == item.part), None)
    if same is not None and same[3] == item.content:
        return KeptPart(str(same[2]))
    cut = None
    if same is not None:  # another message under the same reference
        cut = str(same[0])
        close(connection, [cut])
        there = []
    whole = str(there[0][0]) if there else item.id
    connection.execute(
        _INSERT,
        (
            item.project, item.id, item.key, whole, item.grp, item.total, item.part, item.content, item.key_id, item.sealed,
            item.received_ms,
        ),
    )  # fmt: skip
    if len(there) + 1 < item.total:
        return KeptPart(item.id, None, cut)
    close(connection, [whole])
    return KeptPart(item.id, whole, cut)


def close(connection: Connection, items: list[str]) -> list[None]:
    """Nothing more is waited for."""
    for whole in items:
        connection.execute("update smpp_parts set closed = 1 where whole = ?", (whole,))
    return [None] * len(items)


def parts_of(connection: Connection, whole: str) -> list[StoredPart]:
    """The parts that there are, in order. A read."""
    found = connection.execute(
        "select project, key, id, part, key_id, sealed, received_ms from smpp_parts where whole = ? order by part",
        (whole,),
    )
    values: list[Any] = [StoredPart(*row) for row in found]
    return values


def unsent(connection: Connection, before_ms: int, limit: int) -> list[str]:
    """Wholes that are not accepted yet: complete, or with a part that came before. A read."""
    found = connection.execute(
        "select whole from smpp_parts indexed by smpp_parts_unsent where message is null and (closed = 1 or received_ms < ?)"
        " group by whole order by min(received_ms) limit ?",
        (before_ms, limit),
    )
    return [str(row[0]) for row in found]


def sent(connection: Connection, items: list[tuple[str, str]]) -> list[None]:
    """(whole, message): its parts belong to this message; what they said is there, and is forgotten here."""
    for whole, message in items:
        connection.execute(
            "update smpp_parts set message = ?, closed = 1, sealed = '' where whole = ?", (message, whole)
        )
    return [None] * len(items)


def message_of(connection: Connection, project: str, part: str) -> str | None:
    """The message of a part's id, WAITING or GIVEN_UP; None if there is no such part. A read."""
    row = connection.execute(
        "select coalesce(message, '') from smpp_parts where project = ? and id = ?", (project, part)
    ).fetchone()
    return None if row is None else str(row[0])


def purge(connection: Connection, items: list[int]) -> list[None]:
    """Forgets parts of accepted messages that came before."""
    connection.execute("delete from smpp_parts where received_ms < ? and message is not null", (max(items),))
    return [None] * len(items)
