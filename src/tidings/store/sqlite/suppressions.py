"""Who must not be written to, by project, channel and the hash of the address."""

from tidings.domain.address import address_key
from tidings.kit.secrets import KeyRing
from tidings.store.accounts import NewSuppression, Suppression, owner
from tidings.store.sealed import personal
from tidings.store.sqlite.keys import claimed
from tidings.store.sqlite.link import Connection, rows


def add(connection: Connection, items: list[NewSuppression]) -> list[tuple[str, str]]:
    """Adds them (one that is there stays as it is): ("new" | "replay" | "reused", to_hash) for each."""
    answers: list[tuple[str, str]] = []
    for item in items:
        answer = claimed(connection, item.claim, item.to_hash)
        if answer[0] == "new":
            connection.execute(
                "insert or ignore into suppressions values (?, ?, ?, ?, ?)",
                (item.project, item.channel, item.to_hash, item.reason, item.created_ms),
            )
            connection.execute(
                "insert or replace into personal values (?, ?, ?, ?, ?)",
                (item.project, owner(item.channel, item.to_hash), item.key_id, item.to_hash, item.sealed),
            )
        answers.append(answer)
    return answers


def remove(connection: Connection, items: list[tuple[str, str, str]]) -> list[bool]:
    """(project, channel, to_hash) → whether there was one."""
    answers: list[bool] = []
    for project, channel, to_hash in items:
        connection.execute(
            "delete from suppressions where project = ? and channel = ? and to_hash = ?", (project, channel, to_hash)
        )
        answers.append(connection.changes() > 0)
        connection.execute("delete from personal where project = ? and owner = ?", (project, owner(channel, to_hash)))
    return answers


def get(connection: Connection, ring: KeyRing, project: str, channel: str, to_hash: str) -> Suppression | None:
    """One suppression. A read."""
    row = connection.execute(
        "select reason, created_ms from suppressions where project = ? and channel = ? and to_hash = ?",
        (project, channel, to_hash),
    ).fetchone()
    if row is None:
        return None
    to = _address(connection, ring, project, to_hash)
    return Suppression(channel=channel, to_hash=to_hash, reason=str(row[0]), created_ms=int(row[1]), to=to)


def among(connection: Connection, project: str, channel: str, hashes: list[str]) -> list[str]:
    """Those of these hashes that are suppressed. A read."""
    sql = (
        "select s.to_hash from json_each(?3) e join suppressions s"
        " on s.project = ?1 and s.channel = ?2 and s.to_hash = e.value"
    )
    return [str(row[0]) for row in connection.execute(sql, (project, channel, *rows(hashes)))]


def page(connection: Connection, ring: KeyRing, project: str, after: tuple[str, str], limit: int) -> list[Suppression]:
    """Suppressions of the project by (channel, to_hash), behind `after`. A read."""
    found = connection.execute(
        "select channel, to_hash, reason, created_ms from suppressions"
        " where project = ? and (channel, to_hash) > (?, ?) order by channel, to_hash limit ?",
        (project, *after, limit),
    )
    return [
        Suppression(
            channel=str(row[0]), to_hash=str(row[1]), reason=str(row[2]), created_ms=int(row[3]),
            to=_address(connection, ring, project, str(row[1])),
        )
        for row in list(found)
    ]  # fmt: skip


def _address(connection: Connection, ring: KeyRing, project: str, to_hash: str) -> str | None:
    """The address, from any personal row of the project that has it."""
    row = connection.execute(
        "select owner, key_id, sealed from personal indexed by personal_to"
        " where to_hash = ?2 and project = ?1 order by owner desc limit 1",
        (project, to_hash),
    ).fetchone()
    if row is None:
        return None
    who = personal(ring, str(row[0]), str(row[1]), str(row[2]))
    address = who.sender if str(row[0]).startswith("rec_") else who.to
    # one that an earlier version kept is found by its own spelling alone, see store/respelt.py
    return address if address and to_hash in (address_key(ring, address), ring.lookup(address)) else None
