"""The `tidings` command as a person or a script uses it, against the real server."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = str(Path(sys.executable).with_name("tidings"))
Run = Any


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "80", **more}


def run(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *words], env=environment(**env), cwd=cwd, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.fixture
def tidings(server: Any, tmp_path: Path) -> Run:
    def command(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run(*words, cwd=tmp_path, **{"TIDINGS_URL": server.url, "TIDINGS_API_KEY": server.test_key, **env})

    return command


def test_send_and_wait_for_the_receipt(tidings: Run, server: Any) -> None:
    """Rendered, the text takes two parts; as it was written, one."""
    done = tidings(
        "send", "+15005550001", "Hi {{ name }}", "--data", json.dumps({"name": "Ada " * 50}), "--from", "ACME", "--class", "otp",
        "--channel", "sms", "--reference", "cli-1", "--valid-for", "60", "--wait", "10", "--json",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    message = json.loads(done.stdout)
    assert message["status"] == "delivered"
    found = server.call("GET", f"/v1/messages/{message['id']}").json
    wanted = {"parts": 2, "from": "ACME", "class": "otp", "channel": "sms", "reference": "cli-1"}
    assert {name: found[name] for name in wanted} == wanted


def test_send_for_people(tidings: Run) -> None:
    done = tidings("send", "+15005550001", "hello")
    assert done.returncode == 0
    assert done.stdout.startswith("msg_")
    assert done.stdout.split()[1] == "accepted"


def test_a_message_that_is_not_delivered_fails_the_script(tidings: Run) -> None:
    done = tidings("send", "+15005550002", "hello", "--wait", "10")
    assert done.returncode == 1
    assert "undelivered" in done.stdout


REFUSED = [
    (("send", "123", "x", "--class", "nope"), {}, ("/to:", "/class:")),
    (("send", "+15005550001"), {}, ("422",)),
    (("send", "+15005550001", "x", "--data", "[1]"), {}, ("--data must be a JSON object",)),
    (("send", "+15005550001", "x"), {"TIDINGS_API_KEY": ""}, ("no API key", "TIDINGS_API_KEY")),
    (("send", "+15005550001", "x"), {"TIDINGS_API_KEY": "tk_test_" + "0" * 32}, ("401",)),
    (("keys", "list"), {"TIDINGS_URL": "http://127.0.0.1:1"}, ("no answer from http://127.0.0.1:1", "tidings serve")),
    (("tail",), {"TIDINGS_URL": "http://127.0.0.1:1"}, ("no answer from http://127.0.0.1:1",)),
    (("keys", "list"), {"TIDINGS_URL": "127.0.0.1:1"}, ("base_url must be like",)),
    (("providers", "add", "x", "sms.smpp", "--config", "{"), {}, ("--config must be a JSON object",)),
    (("providers", "pause", "nobody"), {}, ("404",)),
    (("providers", "remove", "sandbox"), {}, ("409",)),
    (("serve", "--config", "none.toml"), {}, ("none.toml: no such file",)),
    (("serve", "--listen", "nonsense"), {}, ("HOST:PORT",)),
    (("serve", "--role", "worker"), {}, ("--role worker", "TIDINGS_DATABASE_URL")),
    (("serve", "--role", "media"), {}, ("there is no such role",)),
    (("serve",), {"TIDINGS_BUS_URL": "nats://127.0.0.1:4222"}, ("TIDINGS_BUS_URL", "SQLite")),
    (("serve", "--role", "api"), {"TIDINGS_DATABASE_URL": "postgresql://x", "TIDINGS_BUS_URL": "x:1"}, ("nats://",)),
]


@pytest.mark.parametrize(("words", "env", "says"), REFUSED, ids=[" ".join((*words, *env)) for words, env, _ in REFUSED])
def test_errors_are_clear_and_no_traceback(
    tidings: Run, words: Any, env: dict[str, str], says: tuple[str, ...]
) -> None:
    done = tidings(*words, **env)
    assert done.returncode == 1, done
    assert all(text in done.stderr for text in says), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [("nonsense",), ("send",), ("send", "+1", "x", "--wait", "soon"), ("keys", "revoke")])
def test_a_wrong_command_line_is_exit_2(words: tuple[str, ...]) -> None:
    assert run(*words).returncode == 2


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("serve", "demo", "send", "tail", "keys", "providers", "doctor", "migrate"):
        assert f" {name} " in done.stdout
    assert "Exit codes" in done.stdout


def hear_ctrl_c() -> None:
    """What a shell starts in the background inherits a deaf ear; these tests may be run so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_tail_shows_events_as_they_happen(tidings: Run, server: Any) -> None:
    env = environment(TIDINGS_URL=server.url, TIDINGS_API_KEY=server.test_key)
    first = server.call("GET", "/v1/events?limit=1").json["data"]
    after = str(first[0]["seq"] if first else 0)
    with subprocess.Popen(
        [COMMAND, "tail", "--json", "--type", "message.sent", "--type", "message.delivered", "--after", after],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c,
    ) as tail:  # fmt: skip
        assert tail.stdout is not None
        sent = server.send(text="watched")["id"]
        mine = [
            event for event in (json.loads(tail.stdout.readline()) for _ in range(2)) if event["data"]["id"] == sent
        ]
        assert [event["type"] for event in mine] == ["message.sent", "message.delivered"]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(60) == 0


def test_keys_live_and_die(tidings: Run) -> None:
    made = tidings("keys", "create", "from cli", "--scope", "messages:read")
    assert made.returncode == 0, made.stderr
    key_id, key = made.stdout.split()
    assert made.stdout.count("\n") == 1
    assert tidings("send", "+15005550001", "x", TIDINGS_API_KEY=key).returncode == 1
    listed = json.loads(tidings("keys", "list", "--json").stdout)
    (mine,) = [item for item in listed if item["id"] == key_id]
    assert mine["scopes"] == ["messages:read"]
    assert mine["key"] is None
    assert key_id in tidings("keys", "list").stdout, "whole, on 80 columns too: it is there to be copied"
    assert tidings("keys", "revoke", key_id).returncode == 0
    refused = tidings("keys", "list", TIDINGS_API_KEY=key)
    assert (refused.returncode, "401" in refused.stderr) == (1, True)


def test_a_key_without_scopes_can_do_everything(tidings: Run) -> None:
    made = json.loads(tidings("keys", "create", "all", "--json").stdout)
    assert tidings("send", "+15005550001", "x", TIDINGS_API_KEY=made["key"]).returncode == 0


def test_providers_come_and_go(tidings: Run, server: Any, free_port: int) -> None:
    config = json.dumps({"host": "127.0.0.1", "port": free_port, "system_id": "me", "password": "s3cret"})
    live = {"TIDINGS_API_KEY": server.key}
    added = tidings("providers", "add", "cli-smsc", "sms.smpp", "--config", config, **live)
    assert added.returncode == 0, added.stderr
    listed = tidings("providers", "list", "--json", **live)
    assert {item["name"] for item in json.loads(listed.stdout)} >= {"cli-smsc"}
    assert "s3cret" not in listed.stdout
    doctor = tidings("doctor", **live)
    assert doctor.returncode == 1
    assert "FAIL  cli-smsc" in doctor.stdout
    assert tidings("providers", "pause", "cli-smsc", **live).stdout == "cli-smsc is paused\n"
    assert tidings("providers", "resume", "cli-smsc", **live).returncode == 0
    assert tidings("providers", "remove", "cli-smsc", **live).returncode == 0
    assert "cli-smsc" not in tidings("providers", "list", **live).stdout


def test_doctor_finds_nothing(tidings: Run) -> None:
    done = tidings("doctor")
    assert done.returncode == 0, done.stdout
    for about in ("configuration", "disk", "server", "clock", "sandbox"):
        assert f"ok    {about}" in done.stdout


def test_doctor_says_what_to_do(tidings: Run, tmp_path: Path) -> None:
    (tmp_path / "tidings.toml").write_text("[webhooks]\nallow_privat = true\n")
    done = tidings("doctor", "--json", TIDINGS_URL="http://127.0.0.1:1")
    assert done.returncode == 1
    findings = {finding["about"]: finding for finding in json.loads(done.stdout)}
    assert "allow_privat" in findings["configuration"]["found"]
    assert "tidings serve" in findings["server"]["advice"]
    assert not any(findings[about]["ok"] for about in ("configuration", "server", "carrier links"))


def test_doctor_sees_a_clock_that_is_wrong() -> None:
    from tidings.commands.doctor import _clock

    assert _clock("Tue, 24 Nov 2026 10:00:00 GMT", 1795514400 + 4.0).ok
    wrong = _clock("Tue, 24 Nov 2026 10:00:00 GMT", 1795514400 + 90.0)
    assert (wrong.ok, wrong.found) == (False, "90 s from the server's")
    assert "not looked at" in _clock("", 0.0).found


def test_a_folder_that_is_a_file(tidings: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = tidings("doctor", "--data", "file")
    assert done.returncode == 1
    assert "choose another --data" in done.stdout


def test_migrate_once_and_again(tmp_path: Path) -> None:
    first = run("migrate", "--data", str(tmp_path / "data"))
    assert first.returncode == 0, first.stderr
    assert "applied 0001" in first.stdout
    assert run("migrate", "--data", str(tmp_path / "data")).stdout == "the schema is up to date\n"


def test_migrate_and_serve_stay_off_data_in_use(tidings: Run, server: Any) -> None:
    for command in (("migrate",), ("serve", "--listen", "127.0.0.1:0")):
        done = tidings(*command, "--data", str(server.data), TIDINGS_API_KEY="")
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr


def test_serve_says_that_the_port_is_taken(tidings: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tidings("serve", "--data", str(tmp_path / "d"), "--listen", f"127.0.0.1:{port}", TIDINGS_API_KEY="")
    assert done.returncode == 1
    assert "choose another with --listen" in done.stderr


def test_verify(tidings: Run) -> None:
    started = tidings("verify", "start", "+15005550611", "--brand", "ACME", "--digits", "8", "--locale", "de", "--json")
    assert (started.returncode, started.stderr) == (0, "")
    id = json.loads(started.stdout)["id"]
    code = tidings("verify", "code", id).stdout.strip()
    assert len(code) == 8
    wrong = tidings("verify", "check", id, f"{(int(code) + 1) % 10**8:08}")
    assert (wrong.returncode, wrong.stdout) == (1, "wrong  pending  4 attempts left\n")
    soon = tidings("verify", "resend", id)
    assert (soon.returncode, "resend_too_soon" in soon.stderr) == (1, True)
    right = tidings("verify", "check", id, code)
    assert (right.returncode, right.stdout) == (0, "right  approved\n")
    shown = tidings("verify", "get", id)
    assert shown.stdout.split()[:3] == [id, "approved", "sms"]
    again = tidings("verify", "check", id, code)
    assert (again.returncode, "already_approved" in again.stderr) == (1, True)
    counts = json.loads(tidings("verify", "stats", "--json").stdout)["data"]
    assert any(row["channel"] == "sms" and row["approved"] >= 1 for row in counts)
    other = json.loads(tidings("verify", "start", "+15005550612", "--json").stdout)["id"]
    assert "canceled" in tidings("verify", "cancel", other).stdout


def test_verify_prefixes(tidings: Run) -> None:
    assert tidings("verify", "allow", "+88899").stdout == "+88899 is allowed\n"
    assert "+88899" in tidings("verify", "prefixes").stdout.split()
    assert tidings("verify", "disallow", "+88899").stdout == "+88899 is guarded\n"
    gone = tidings("verify", "disallow", "+88899")
    assert (gone.returncode, "not_found" in gone.stderr) == (1, True)
    bad = tidings("verify", "allow", "49")
    assert (bad.returncode, "/prefix" in bad.stderr) == (1, True)


def test_providers_templates(tidings: Run) -> None:
    done = tidings("providers", "templates", "sandbox-whatsapp", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = {item["name"]: item for item in json.loads(done.stdout)}
    assert (found["order_update"]["status"], found["seasonal_offer"]["status"]) == ("APPROVED", "REJECTED")
    table = tidings("providers", "templates", "sandbox-whatsapp").stdout
    assert "order_update" in table
    assert "APPROVED" in table
    other = tidings("providers", "templates", "sandbox")
    assert (other.returncode, other.stdout) == (1, "")
    assert "lists no templates" in other.stderr
