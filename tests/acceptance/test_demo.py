"""`tidings demo`: it shows what happened, and exits 0 only if all of it did."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidings.demo import script, show
from tidings.demo.receiver import Receiver

COMMAND = str(Path(sys.executable).with_name("tidings"))


def start(*words: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    env = {**kept, "NO_COLOR": "1", "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [COMMAND, "demo", *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def listens(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


def test_once_all_of_it_happens() -> None:
    with start("--once") as demo:
        text, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, text
    for kind in ("accepted", "sent", "delivered", "replied", "read"):
        assert re.search(rf"message\.{kind} .*verified after \d+ ms", text), kind
    assert re.search(r"reply: YES .*verified", text)
    assert "8 messages over SMPP, SMTP and HTTP on four channels, 2 replies, a fallback, a failover" in text
    url = re.search(r"runs at (http://\S+)", text)
    assert url is not None
    assert not listens(url[1])


@pytest.fixture
def staying(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A demo that stays up: (process, URL, key)."""
    with start("--data", str(tmp_path / "kept")) as demo:
        assert demo.stdout is not None
        text, end_s = "", time.monotonic() + 60
        while '"Hello"' not in text and time.monotonic() < end_s:
            text += demo.stdout.readline()
        url, key = re.search(r"curl (http://[^/]+)/", text), re.search(r"Bearer (tk_test_\w+)", text)
        assert url is not None, text
        assert key is not None, text
        yield demo, url[1], key[1]
        if demo.poll() is None:
            demo.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stays_up_and_leaves_nothing_behind(staying: Any, number: signal.Signals, tmp_path: Path) -> None:
    demo, url, key = staying
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/messages", '{"to": "+15005550007", "text": "Hello"}', headers)
    assert connection.getresponse().status == 202
    connection.close()
    demo.send_signal(number)
    assert demo.wait(30) == 0
    assert not listens(url)
    assert (tmp_path / "kept" / "tidings.db").exists()


def test_stopped_before_the_end_is_no_success() -> None:
    with start("--once") as demo:
        assert demo.stdout is not None
        assert "runs at" in demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)
    assert demo.returncode == 130


def test_a_server_that_does_not_start() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        start("--once", "--listen", f"127.0.0.1:{taken.getsockname()[1]}") as demo,
    ):
        text, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "choose another with --listen" in text


def _undelivered() -> tuple[script.Scene, ...]:
    first, *rest = script.SCENES
    return (msgspec.structs.replace(first, request={**first.request, "to": "+15005550002"}), *rest)


def _other_answer() -> tuple[script.Scene, ...]:
    return (msgspec.structs.replace(script.SCENES[0], answer="NO"),)


def _other_parts() -> tuple[script.Scene, ...]:
    return (msgspec.structs.replace(script.SCENES[2], parts=3),)


SABOTAGE = [
    (_undelivered, "status is undelivered, not delivered"),
    (_other_answer, "no verified webhook with the reply 'NO'"),
    (_other_parts, "2 part(s), not 3"),
]


@pytest.mark.parametrize(("scenes", "says"), SABOTAGE, ids=["undelivered", "reply", "parts"])
def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scenes: Any, says: str
) -> None:
    monkeypatch.setattr(show, "SCENES", scenes())
    monkeypatch.setattr(show, "_DEADLINE_S", 2.0)
    assert show.run(once=True, listen="127.0.0.1:0") == 1
    assert says in capsys.readouterr().out


def test_webhooks_that_do_not_verify_fail_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = property(lambda self: "whsec_d3Jvbmcgc2VjcmV0IG9mIG5vYm9keQ==", lambda self, value: None)
    monkeypatch.setattr(Receiver, "secret", wrong, raising=False)
    monkeypatch.setattr(show, "_DEADLINE_S", 2.0)
    assert show.run(once=True, listen="127.0.0.1:0") == 1
    said = capsys.readouterr().out
    assert "no verified webhook message.delivered" in said
    assert "with a signature that does not verify" in said
