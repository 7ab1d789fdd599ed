"""`tidings loadtest` against the real server: with its own carrier, with an SMSC that is not ours, and as a person uses it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import Api, start_server, stop_server
from peers.carriers import node_smsc

COMMAND = str(Path(sys.executable).with_name("tidings"))


def environment(api: Api, key: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200", "TIDINGS_URL": api.url, "TIDINGS_API_KEY": key}


def loadtest(api: Api, key: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    lag = () if "--max-generator-lag-ms" in words else ("--max-generator-lag-ms", "20000")  # tests share two cores
    return subprocess.run(
        [COMMAND, "loadtest", *map(str, (*words, *lag))], env=environment(api, key), capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", [(), ("--batch", "10", "--callbacks", "stream", "--arrivals", "poisson")])
def test_everything_is_accounted_for(server: Api, tmp_path: Path, words: tuple[str, ...]) -> None:
    """With a carrier of its own; what it made on the server is gone afterwards, and its messages are nobody else's."""
    report, page = tmp_path / "r.json", tmp_path / "r.html"
    done = loadtest(
        server, server.key, "--rate", "100", "--duration", "3", "--receipts", "delivered=90,undelivered=5,none=5",
        "--receipt-delay", "0.1", "--wait", "10", "--json", report, "--html", page, *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    accounts = Counter(found["accounts"])
    assert accounts["accepted"] == accounts["scheduled"] > 200
    assert accounts["delivered"] + accounts["undelivered"] + accounts["unreceipted"] == accounts["accepted"]
    assert min(accounts["undelivered"], accounts["unreceipted"]) > 0
    assert found["latency"]["submit"]["all"]["count"] == accounts["accepted"]
    assert "Everything held" in done.stdout
    assert "Everything held" in page.read_text()
    assert "\r" not in done.stderr, "piped, the progress is plain lines"
    for path, gone in (("/v1/providers", "loadtest-"), ("/v1/webhooks", "loadtest")):
        assert gone not in server.call("GET", path, key=server.key).body.decode()
    listed = server.call("GET", "/v1/messages?limit=200", key=server.key).json["data"]
    assert not [item for item in listed if "load test" in (item["text"] or "")]


def test_a_test_key_uses_the_servers_sandbox(server: Api) -> None:
    done = loadtest(
        server, server.test_key, "--rate", "40", "--duration", "1.5", "--to-range", "+15005550001-+15005550002"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "undelivered 30" in done.stdout, "every second recipient of the sandbox refuses"
    assert "MISSED failed is 30" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--lanes", "sms=1"), "--lanes"),
        (("--rate", "0"), "--rate"),
        (("--to-range", "123"), "--to-range"),
        (("--arrivals", "never"), "--arrivals"),
        (("--callbacks", "pigeon"), "--callbacks"),
        (("--receipts", "delivered=x"), "--receipts"),
        (("--url", "nowhere"), "URL"),
    ],
)
def test_bad_options_exit_2(server: Api, words: tuple[str, ...], told: str) -> None:
    done = loadtest(server, server.key, *words)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_a_limit_that_is_missed_exits_1(server: Api) -> None:
    done = loadtest(server, server.key, "--rate", "20", "--duration", "1", "--max-p99-ms", "0.01")
    assert (done.returncode, "MISSED request → 202, p99 ms" in done.stdout) == (1, True), done.stdout


def test_a_generator_that_lags_exits_3(server: Api) -> None:
    done = loadtest(server, server.key, "--rate", "20", "--duration", "1", "--max-generator-lag-ms", "0.0001")
    assert (done.returncode, "do not blame the server" in done.stdout) == (3, True), done.stdout


def test_ctrl_c_ends_with_the_report(server: Api, tmp_path: Path) -> None:
    command = [COMMAND, "loadtest", "--rate", "50", "--duration", "300", "--json", str(tmp_path / "r.json")]
    with subprocess.Popen(
        command, env=environment(server, server.key), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "sent" not in process.stderr.readline():
            pass
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode in (130, 3), out
    accounts = json.loads((tmp_path / "r.json").read_text())["accounts"]
    assert 20 < accounts["scheduled"] < 1_000
    assert accounts["lost"] == 0
    assert "loadtest-" not in server.call("GET", "/v1/providers", key=server.key).body.decode()


async def test_an_smsc_that_is_not_ours_agrees(node_peer: Path, tmp_path: Path) -> None:
    """Through a provider of the server to npm `smpp`: its own count of submits is the judge of the accounts."""
    key = f"tk_live_{secrets.token_hex(24)}"
    async with node_smsc(node_peer, receipts="after", receipt_ms=20) as smsc:
        settings = (
            f'[[providers]]\nname = "foreign"\ntype = "sms.smpp"\nhost = "127.0.0.1"\nport = {smsc.port}\n'
            'system_id = "perf"\npassword = "perf"\n'
        )
        process, url = await asyncio.to_thread(start_server, tmp_path / "data", key, settings)
        api = Api(url=url, key=key)
        try:
            words: list[Any] = [
                "--no-sandbox",
                "--rate",
                "100",
                "--duration",
                "2",
                "--to-range",
                "+491701234000-+491701234999",
            ]
            done = await asyncio.to_thread(loadtest, api, key, *words, "--json", tmp_path / "r.json")
        finally:
            await asyncio.to_thread(stop_server, process)
        assert done.returncode == 0, done.stdout + done.stderr
        accounts = json.loads((tmp_path / "r.json").read_text())["accounts"]
        await smsc.caught_up()
        assert accounts["delivered"] == len(smsc.of("submit")) == 200


def test_a_key_that_may_too_little_sends_nothing(server: Api) -> None:
    made = server.call(
        "POST",
        "/v1/keys",
        {"name": "few", "mode": "live", "scopes": ["messages:write", "messages:read"]},
        key=server.key,
    )
    done = loadtest(server, made.json["key"], "--rate", "5", "--duration", "1")
    assert done.returncode == 1
    assert "could not begin" in done.stderr
