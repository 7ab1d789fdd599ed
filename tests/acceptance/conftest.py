"""The real server, as its own process, and a caller of its API that knows nothing of Tidings but HTTP."""

import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from forks import AVAILABLE, Forked, fork

START_S = 60


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Api:
    """A running server, and requests to it. `key` is the live key of the first project, `test_key` its test key."""

    url: str
    key: str
    test_key: str = ""
    data: Path = field(default_factory=Path)
    pid: int = 0

    def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own. `key`: None for none, "" for the test key (else the live one)."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.test_key or self.key}")
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        try:
            connection.request(method, path, raw, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def send(self, **fields: Any) -> Any:
        """Sends a message that the sandbox delivers; the answer's JSON."""
        answer = self.call("POST", "/v1/messages", {"to": "+15005550001", "text": "hello", **fields})
        assert answer.status == 202, answer.body
        return answer.json

    def wait_for(self, message_id: str, *statuses: str, timeout_s: float = 30) -> Any:
        """The message, once it is in one of the statuses."""
        end_s = time.monotonic() + timeout_s
        while True:
            found = self.call("GET", f"/v1/messages/{message_id}").json
            if found["status"] in statuses or time.monotonic() > end_s:
                assert found["status"] in statuses, found
                return found
            time.sleep(0.02)


Process = subprocess.Popen[bytes] | Forked


def start_server(data: Path, key: str, settings: str = "", *, anew: bool = False) -> tuple[Process, str]:
    """`tidings serve` with this live key and more lines of `tidings.toml`; (process, URL).

    `anew`: the program itself, not a fork of a process that has its packages already.
    """
    config = data.parent / f"{data.name}.toml"
    config.write_text("[webhooks]\nallow_private = true\n" + settings)
    options = ["serve", "--data", str(data), "--listen", "127.0.0.1:0", "--config", str(config)]
    env = {**os.environ, "TIDINGS_API_KEY": key, "NO_COLOR": "1", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    log = data.parent / f"{data.name}.log"
    log.write_bytes(b"")
    if AVAILABLE and not anew:
        process: Process = fork(["tidings", *options], env, log)
    else:
        program = str(Path(sys.executable).with_name("tidings"))
        with log.open("ab") as out:
            process = subprocess.Popen([program, *options], env=env, stdout=out, stderr=out)
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and (process.returncode if isinstance(process, Forked) else process.poll()) is None:
        if found := re.search(r"(http://\S+)\s", log.read_text()):
            return process, found[1]
        time.sleep(0.02)
    stop_server(process)
    raise AssertionError(log.read_text()[-4000:])


def stop_server(process: Process) -> None:
    """SIGTERM, then a look whether it obeyed."""
    process.terminate()
    wait = process.join if isinstance(process, Forked) else process.wait
    try:
        wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        wait(60)
        raise


def kill_server(process: Process) -> None:
    """SIGKILL."""
    process.kill()
    (process.join if isinstance(process, Forked) else process.wait)(60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for the session: `url`, `key`, `test_key`, `data`. Webhooks may go to private addresses."""
    data = tmp_path_factory.mktemp("server") / "data"
    key = f"tk_live_{secrets.token_hex(24)}"
    process, url = start_server(data, key, anew=True)
    api = Api(url=url, key=key, data=data, pid=process.pid)
    made = api.call("POST", "/v1/keys", {"name": "tests", "mode": "test", "scopes": ["*"]}, key=key)
    assert made.status == 201, made.body
    api.test_key = made.json["key"]
    yield api
    stop_server(process)
