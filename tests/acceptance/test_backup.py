"""A backup of the running server under load, restored elsewhere: recounted, readable, and nothing is sent by itself.

What the tests compare with is not ours: `tar`, the standard library's `sqlite3`, and what the API answered before.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import Api, kill_server, start_server, stop_server

COMMAND = str(Path(sys.executable).with_name("tidings"))
DELIVERED, SILENT = "+15005550001", "+15005550009"


def tidings(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    return subprocess.run(
        [COMMAND, *map(str, words)], env={**kept, "NO_COLOR": "1", "COLUMNS": "200", **env}, capture_output=True,
        text=True, timeout=110, check=False,
    )  # fmt: skip


@contextmanager
def serving(data: Path, key: str, *, crash: bool = False) -> Iterator[Api]:
    process, url = start_server(data, key)
    try:
        yield Api(url=url, key=key, data=data, pid=process.pid)
    finally:
        if crash:
            kill_server(process)  # a drain would wait for the silent carrier
        else:
            stop_server(process)


def new_key() -> str:
    return f"tk_test_{secrets.token_hex(24)}"


class Load(threading.Thread):
    """Sends without a pause; `accepted` are the ids of what was answered 202, in order."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self.api, self.accepted, self.stop = api, list[str](), threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            messages = [{"to": DELIVERED, "text": f"number {len(self.accepted) + n}"} for n in range(20)]
            answer = self.api.call("POST", "/v1/messages/batch", {"messages": messages})
            self.accepted += [item["id"] for item in answer.json["data"]]


def rows(database: Path, sql: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def change(database: Path, sql: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(sql, values).rowcount == 1


def unpack(file: Path, folder: Path) -> Path:
    subprocess.run(["tar", "-xf", str(file), "-C", str(folder)], check=True)
    return folder


def test_backup_under_load_and_restore(tmp_path: Path) -> None:
    """Everything accepted before the backup began is in it, can be read, and is recounted by another SQLite."""
    key, data, file = new_key(), tmp_path / "data", tmp_path / "one.backup"
    with serving(data, key) as api:
        load = Load(api)
        load.start()
        while len(load.accepted) < 400:
            assert load.is_alive()
            time.sleep(0.01)
        before = list(load.accepted)
        made = tidings("backup", file, "--with-keys", "--data", data, "--json")
        load.stop.set()
        load.join()
        assert made.returncode == 0, made.stderr
        assert len(load.accepted) > len(before), "the server was not writing meanwhile"
    manifest = json.loads(made.stdout)
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "out").mkdir()
    database = unpack(file, tmp_path / "out") / "tidings.db"
    assert rows(database, "pragma integrity_check") == [("ok",)]
    counted = {name: rows(database, f'select count(*) from "{name}"')[0][0] for name in manifest["tables"]}
    assert counted == manifest["tables"]

    new = tmp_path / "new"
    done = tidings("restore", file, "--data", new, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tables"] == manifest["tables"]
    assert found["sealed"]["personal"]["opened"] == counted["personal"] > 0
    there = {row[0] for row in rows(new / "tidings.db", "select id from messages")}
    assert not set(before) - there, "accepted before the backup, and missing in it"
    with serving(new, key) as api:
        for id in (before[0], before[-1]):
            view = api.call("GET", f"/v1/messages/{id}").json
            assert view["to"] == DELIVERED
            assert view["text"].startswith("number ")
        api.wait_for(api.send()["id"], "delivered")  # and it works


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, str]]:
    """A backup of a server whose carrier is silent: one message on the wire, one scheduled, two of a sequence."""
    folder = tmp_path_factory.mktemp("waiting")
    key, data = new_key(), folder / "data"
    with serving(data, key, crash=True) as api:
        ids = {"on the wire": api.send(to=SILENT, text="no answer")["id"]}
        api.wait_for(ids["on the wire"], "sending")
        ids["first"] = api.send(to=SILENT, text="one", sequence="s")["id"]
        ids["second"] = api.send(text="two", sequence="s")["id"]
        ids["short"] = api.send(to=SILENT, text="code", sequence="s", valid_for_s=3600)["id"]
        ids["done"] = api.send(text="done")["id"]
        api.wait_for(ids["done"], "delivered")
        made = tidings("backup", folder / "b.backup", "--data", data)
        assert made.returncode == 0, made.stderr
        assert "keys are not in it" in made.stdout
    shutil.copy(data / "keys.json", folder / "keys.json")
    return folder, key, ids


def statuses(api: Api, ids: dict[str, str]) -> dict[str, str]:
    return {name: api.call("GET", f"/v1/messages/{id}").json["status"] for name, id in ids.items()}


def test_what_was_waiting_is_held_until_told(waiting: tuple[Path, str, dict[str, str]], tmp_path: Path) -> None:
    """The lost server may have sent it since. Held messages still expire, and can be canceled."""
    folder, key, ids = waiting
    data = tmp_path / "data"
    done = tidings("restore", folder / "b.backup", "--data", data, "--keys", folder / "keys.json")
    assert done.returncode == 0, done.stderr
    assert "held       4 message(s)" in done.stdout
    change(data / "tidings.db", "update jobs set expires_ms = 1 where message = ?", ids["short"])
    old_seq = rows(data / "tidings.db", "select max(seq) from events where type <> 'message.held'")[0][0]
    with serving(data, key, crash=True) as api:
        api.wait_for(ids["short"], "expired")
        new = api.send(text="new", sequence="s")["id"]
        api.wait_for(api.send(text="other")["id"], "delivered")
        now = statuses(api, ids | {"new": new})
        assert now == {
            "on the wire": "sending", "first": "sending", "second": "held", "short": "expired", "done": "delivered",
            "new": "accepted",
        }, now  # fmt: skip
        assert old_seq > 10**10, "numbers of events could be given twice"
        running = tidings("restore", "--jobs", "resume", "--data", data)
        assert (running.returncode, "stop it first" in running.stderr) == (1, True)
    released = tidings("restore", "--jobs", "fail", "--data", data)
    assert released.returncode == 0, released.stderr
    with serving(data, key) as api:
        api.wait_for(new, "delivered")  # what came after the restore goes on
        view = api.call("GET", f"/v1/messages/{ids['second']}").json
        assert (view["status"], view["error"]["code"]) == ("failed", "restored_unsent")


def test_held_messages_can_be_resumed(waiting: tuple[Path, str, dict[str, str]], tmp_path: Path) -> None:
    folder, key, ids = waiting
    data = tmp_path / "data"
    assert tidings("restore", folder / "b.backup", "--data", data, "--keys", folder / "keys.json").returncode == 0
    released = tidings("restore", "--jobs", "resume", "--data", data, "--json")
    assert json.loads(released.stdout) == {"resumed": 4, "failed": 0}
    with serving(data, key, crash=True) as api:
        end_s = time.monotonic() + 30
        while len(api.call("GET", f"/v1/messages/{ids['first']}").json["attempts"]) < 2:
            assert time.monotonic() < end_s, "it was not sent again"
            time.sleep(0.05)


REFUSED = [
    ("no keys", [], "the backup has no keys"),
    ("other keys", ["--keys", "other.json"], "these keys do not open the backup"),
    ("no such keys", ["--keys", "nowhere.json"], "no such file"),
]


@pytest.mark.parametrize(("name", "words", "told"), REFUSED, ids=[row[0] for row in REFUSED])
def test_restore_without_the_keys_is_refused(
    waiting: tuple[Path, str, dict[str, str]], tmp_path: Path, name: str, words: list[str], told: str
) -> None:
    folder, _, _ = waiting
    ring = {"seal": {"k1": "A" * 43 + "="}, "current": "k1", "lookup": "B" * 43 + "="}
    (tmp_path / "other.json").write_text(json.dumps(ring))
    words = [str(tmp_path / word) if word.endswith(".json") else word for word in words]
    done = tidings("restore", folder / "b.backup", "--data", tmp_path / "data", *words)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert not (tmp_path / "data" / "tidings.db").exists()


def damaged(file: Path, target: Path, how: str) -> None:
    """A copy of a backup in which something is wrong."""
    if how == "cut off":
        target.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        return
    with tarfile.open(file) as old, tarfile.open(target, "w") as new:
        for entry in old:
            data = old.extractfile(entry).read()  # type: ignore[union-attr]
            if how == "a flipped bit" and entry.name == "tidings.db":
                data = data[:5000] + bytes((data[5000] ^ 1,)) + data[5001:]
            if how in ("newer schema", "other counts") and entry.name == "manifest.json":
                manifest = json.loads(data)
                if how == "newer schema":
                    manifest["schema"] = 9999
                else:
                    manifest["tables"]["messages"] += 1
                data = json.dumps(manifest).encode()
            entry.size = len(data)
            new.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("cut off", "damaged"),
        ("a flipped bit", "checksum"),
        ("newer schema", "schema 9999"),
        ("other counts", "messages"),
    ],
)
def test_a_damaged_backup_is_refused(
    waiting: tuple[Path, str, dict[str, str]], tmp_path: Path, how: str, told: str
) -> None:
    folder, _, _ = waiting
    damaged(folder / "b.backup", tmp_path / "bad", how)
    words = ["--keys", folder / "keys.json"]
    for done in (
        tidings("restore", tmp_path / "bad", "--data", tmp_path / "data", *words),
        tidings("restore", tmp_path / "bad", "--verify-only", *words),
    ):
        assert done.returncode == 1, done.stdout
        assert told in done.stderr + done.stdout
    assert not (tmp_path / "data" / "tidings.db").exists()


def test_a_full_directory_and_a_running_server_are_refused(
    waiting: tuple[Path, str, dict[str, str]], tmp_path: Path
) -> None:
    folder, key, ids = waiting
    data, words = tmp_path / "data", ["--keys", folder / "keys.json"]
    with serving(data, key) as api:
        kept = api.send()["id"]
        running = tidings("restore", folder / "b.backup", "--data", data, *words, "--force")
        assert (running.returncode, "stop it first" in running.stderr) == (1, True)
    full = tidings("restore", folder / "b.backup", "--data", data, *words)
    assert (full.returncode, "not empty" in full.stderr) == (1, True)
    forced = tidings("restore", folder / "b.backup", "--data", data, *words, "--force", "--json")
    assert forced.returncode == 0, forced.stderr
    aside = data / json.loads(forced.stdout)["replaced"]
    assert rows(aside / "tidings.db", "select id from messages") == [(kept,)]
    assert (aside / "keys.json").exists(), "the old key ring is gone"
    assert set(ids.values()) <= {row[0] for row in rows(data / "tidings.db", "select id from messages")}


def test_verify_only_writes_nothing(waiting: tuple[Path, str, dict[str, str]]) -> None:
    folder, _, _ = waiting
    before = sorted(folder.iterdir())
    done = tidings("restore", folder / "b.backup", "--verify-only", "--keys", folder / "keys.json")
    assert done.returncode == 0, done.stderr
    assert "as the manifest says" in done.stdout
    assert "sealed row(s) open" in done.stdout
    assert sorted(folder.iterdir()) == before


def test_a_backup_never_replaces_another_unasked(waiting: tuple[Path, str, dict[str, str]]) -> None:
    folder, _, _ = waiting
    again = tidings("backup", folder / "b.backup", "--data", folder / "data")
    assert (again.returncode, "exists" in again.stderr) == (1, True)


def test_a_backup_that_fails_leaves_nothing(waiting: tuple[Path, str, dict[str, str]], tmp_path: Path) -> None:
    """The file system is full: no half file, under its name or another."""
    folder, _, _ = waiting
    limited = f"ulimit -f 64; exec {COMMAND} backup {tmp_path}/x.backup --data {folder}/data"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_an_older_program_refuses_a_newer_schema(tmp_path: Path) -> None:
    """Rolling back: the old program says what to do instead of touching the file."""
    key, data = new_key(), tmp_path / "data"
    with serving(data, key):
        pass
    with contextlib.closing(sqlite3.connect(data / "tidings.db")) as connection:
        connection.execute("pragma user_version = 9999")
    done = tidings("serve", "--data", data, "--listen", "127.0.0.1:0")
    assert (done.returncode, "use a newer Tidings" in done.stderr) == (1, True)


def test_a_backup_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    """Backed up, verified and restored by today's program; the server's start then brings it up to date."""
    old, new, key = tmp_path / "old", tmp_path / "new", new_key()
    old.mkdir()
    first = resources.files("tidings.store") / "migrations" / "sqlite" / "0001_init.sql"
    with contextlib.closing(sqlite3.connect(old / "tidings.db")) as connection:
        connection.executescript(first.read_text() + "pragma user_version = 1;")
    assert tidings("backup", tmp_path / "b", "--data", old).returncode == 0
    assert tidings("restore", tmp_path / "b", "--data", new).returncode == 0
    assert rows(new / "tidings.db", "pragma user_version") == [(1,)]
    with serving(new, key) as api:
        api.wait_for(api.send()["id"], "delivered")
    assert rows(new / "tidings.db", "pragma user_version")[0][0] > 1
