"""Twilio's own SDK against the real server, with nothing changed but its base URL; its RequestValidator judges the callbacks."""

import datetime as dt
import hashlib
import http.server
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from acceptance.conftest import Api

GOOD, FAILED = "+15005550001", "+15005550002"


class Listener:
    """A customer's StatusCallback: keeps what comes; answers 500 to the first `fail` calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], str]] = []
        self.fail = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
                params = {name: values[0] for name, values in parse_qs(raw, keep_blank_values=True).items()}
                status = 500 if outer.fail > 0 else 200
                outer.fail -= 1
                outer.calls.append((self.path, params, self.headers["X-Twilio-Signature"]))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, sid: str, *, until: str, timeout_s: float = 30) -> list[tuple[str, dict[str, str], str]]:
        """The calls about a message, once one with the status `until` is there."""
        end_s = time.monotonic() + timeout_s
        while True:
            found = [call for call in self.calls if call[1]["MessageSid"] == sid]
            if any(call[1]["MessageStatus"] == until for call in found):
                return found
            assert time.monotonic() < end_s, found
            time.sleep(0.02)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def account_of(server: Api) -> str:
    return "AC" + server.call("GET", "/v1/projects").json["data"][-1]["id"].removeprefix("prj_")


def client_of(server: Api, user: str | None = None, password: str | None = None) -> Client:
    account = account_of(server)
    client = Client(user or account, password or server.test_key, account)
    client.api.base_url = server.url
    return client


def wait(client: Client, sid: str, status: str, timeout_s: float = 30) -> Any:
    end_s = time.monotonic() + timeout_s
    while True:
        found = client.messages(sid).fetch()
        if found.status == status:
            return found
        assert time.monotonic() < end_s, found.status
        time.sleep(0.02)


def test_create_and_fetch(server: Api) -> None:
    client = client_of(server)
    made = client.messages.create(to=GOOD, from_="+15005550006", body="Hello", validity_period=600)
    assert re.fullmatch("SM[0-9a-f]{32}", made.sid or "")
    assert (made.account_sid, made.direction, made.status) == (client.account_sid, "outbound-api", "queued")
    assert (made.to, made.from_, made.body, made.num_segments, made.price) == (GOOD, "+15005550006", "Hello", "1", None)
    assert isinstance(made.date_created, dt.datetime)
    found = wait(client, made.sid, "delivered")
    assert isinstance(found.date_sent, dt.datetime)
    assert found.error_code is None
    ours = server.call("GET", f"/v1/messages/msg_{made.sid[2:]}").json
    assert (ours["text"], ours["status"]) == ("Hello", "delivered")
    assert ours["valid_until"] is not None


def test_a_message_that_is_not_delivered(server: Api) -> None:
    client = client_of(server)
    found = wait(client, client.messages.create(to=FAILED, from_="ACME", body="x").sid or "", "undelivered")
    assert isinstance(found.error_code, int)
    assert found.error_message


def test_an_api_key_sid_is_a_user_too(server: Api) -> None:
    made = server.call("POST", "/v1/keys", {"name": "sdk", "mode": "test", "scopes": ["messages:*"]}).json
    client = client_of(server, "SK" + made["id"].removeprefix("key_"), made["key"])
    assert client.messages.create(to=GOOD, from_="ACME", body="x").sid
    with pytest.raises(TwilioRestException) as told:
        client.api.accounts(client.account_sid).fetch()
    assert (told.value.status, told.value.code) == (403, 20403)


@pytest.mark.parametrize("user", [None, "AC" + "0" * 32, "SK" + "0" * 32])
def test_a_wrong_user_or_password_is_20003(server: Api, user: str | None) -> None:
    with pytest.raises(TwilioRestException) as told:
        client_of(server, user, "wrong" if user is None else None).messages.create(to=GOOD, from_="ACME", body="x")
    assert (told.value.status, told.value.code) == (401, 20003)


@pytest.mark.parametrize("call", ["fetch", "create"])
def test_another_account_is_not_there(server: Api, call: str) -> None:
    """A message that exists, asked for under an account that is not the caller's."""
    client = client_of(server)
    made = client.messages.create(to=GOOD, from_="ACME", body="x")
    others = client.api.accounts("AC" + "0" * 32).messages
    asks = {
        "fetch": lambda: others(made.sid or "").fetch(),
        "create": lambda: others.create(to=GOOD, from_="ACME", body="x"),
    }
    with pytest.raises(TwilioRestException) as told:
        asks[call]()
    assert (told.value.status, told.value.code) == (404, 20404)
    with pytest.raises(TwilioException) as told_of_page:  # the SDK's pages keep the answer instead of reading it
        others.list(limit=1)
    answer = told_of_page.value.args[1]
    assert (answer.status_code, json.loads(answer.text)["code"]) == (404, 20404)


REFUSED: list[tuple[dict[str, Any], int]] = [
    ({"to": ""}, 21604), ({"to": "555"}, 21211), ({"from_": ""}, 21603), ({"from_": "x" * 12}, 21212),
    ({"body": ""}, 21602), ({"body": "x" * 1601}, 21617), ({"status_callback": "ftp://example.com"}, 21609),
    ({"messaging_service_sid": "MG" + "0" * 32}, 21701), ({"validity_period": 0}, 20001),
    ({"media_url": ["https://example.com/a.png"]}, 20001), ({"attempt": 2}, 20001), ({"max_price": "0.1"}, 20001),
    ({"provide_feedback": True}, 20001), ({"smart_encoded": True}, 20001), ({"schedule_type": "fixed"}, 20001),
    ({"send_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, 20001),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "code"), REFUSED)
def test_what_is_wrong_is_refused_with_its_code(server: Api, wrong: dict[str, Any], code: int) -> None:
    good: dict[str, Any] = {"to": GOOD, "from_": "ACME", "body": "x"}
    with pytest.raises(TwilioRestException) as told:
        client_of(server).messages.create(**(good | wrong))
    assert (told.value.status, told.value.code) == (400, code)


def test_list_pages_filters_and_shows_what_came_in(server: Api) -> None:
    client = client_of(server)
    to = "+15005550106"
    sids = [client.messages.create(to=to, from_="PAGES", body=str(n)).sid for n in range(5)]
    assert [item.sid for item in client.messages.list(to=to, page_size=2)] == sids[::-1]
    assert {item.sid for item in client.messages.list(from_="PAGES", page_size=50)} == set(sids)
    wait(client, str(sids[-1]), "delivered")
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert client.messages.list(to=to, date_sent_after=tomorrow) == []
    answered = client.messages.create(to="+15005550007", from_="+15005550999", body="?")
    end_s = time.monotonic() + 30
    while True:
        received = [item for item in client.messages.list(limit=200) if item.direction == "inbound"]
        if received:
            break
        assert time.monotonic() < end_s, "no reply came"
        time.sleep(0.05)
    found = client.messages(received[0].sid or "").fetch()
    assert (found.direction, found.status) == ("inbound", "received")
    assert answered.sid != found.sid


def test_a_scheduled_message_can_be_canceled(server: Api) -> None:
    client = client_of(server)
    service = "MG" + str(client.account_sid)[2:]
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    made = client.messages.create(
        to=GOOD, messaging_service_sid=service, body="later", send_at=at, schedule_type="fixed"
    )
    assert made.status == "scheduled"
    assert client.messages(made.sid or "").update(status="canceled").status == "canceled"
    gone = client.messages.create(to=GOOD, from_="ACME", body="now")
    wait(client, gone.sid or "", "delivered")
    with pytest.raises(TwilioRestException) as told:
        client.messages(gone.sid or "").update(status="canceled")
    assert (told.value.status, told.value.code) == (409, 20409)
    with pytest.raises(TwilioRestException) as told:
        client.messages(gone.sid or "").update(body="")
    assert (told.value.status, told.value.code) == (400, 20001)
    with pytest.raises(TwilioRestException) as told:
        client.messages(gone.sid or "").delete()
    assert (told.value.status, told.value.code) == (405, 20004)


def test_status_callbacks_are_signed_twilios_way(server: Api, listener: Listener) -> None:
    client = client_of(server)
    token = client.api.accounts(client.account_sid).fetch().auth_token
    validator = RequestValidator(token)
    url = f"{listener.url}/status?order=7&name=M%C3%BCller"
    made = client.messages.create(to=GOOD, from_="ACME", body="x", status_callback=url)
    calls = listener.of(made.sid or "", until="delivered")
    assert {call[1]["MessageStatus"] for call in calls} >= {"queued", "sent", "delivered"}
    for path, params, signature in calls:
        assert validator.validate(listener.url + path, params, signature), params
        assert not validator.validate(listener.url + path, {**params, "MessageStatus": "x"}, signature)
        assert params["AccountSid"] == client.account_sid
        assert params["SmsSid"] == made.sid
        assert (params["To"], params["From"], params["ApiVersion"]) == (GOOD, "ACME", "2010-04-01")
    other = client.messages.create(to=FAILED, from_="ACME", body="x", status_callback=url)
    last = listener.of(other.sid or "", until="undelivered")[-1][1]
    assert int(last["ErrorCode"]) > 0


def test_a_callback_that_failed_comes_again(server: Api, listener: Listener) -> None:
    client = client_of(server)
    listener.fail = 1
    made = client.messages.create(to=GOOD, from_="ACME", body="x", status_callback=listener.url + "/again")
    listener.of(made.sid or "", until="delivered")
    end_s = time.monotonic() + 30  # the first retry comes after 5 s
    while True:
        statuses = [call[1]["MessageStatus"] for call in listener.calls]
        if any(statuses.count(status) > 1 for status in statuses):
            break
        assert time.monotonic() < end_s, statuses
        time.sleep(0.05)


def test_the_idempotency_token_makes_one_message_of_two_requests(server: Api) -> None:
    account = account_of(server)
    basic = (account, server.test_key)
    headers = {"I-Twilio-Idempotency-Token": hashlib.sha256(secrets.token_bytes(8)).hexdigest()}
    client = client_of(server)
    sids = {
        client.request(
            "POST", f"{server.url}/2010-04-01/Accounts/{account}/Messages.json", auth=basic, headers=dict(headers),
            data={"To": GOOD, "From": "ACME", "Body": "once"},
        ).text
        for _ in range(2)
    }  # fmt: skip
    assert len({text.split('"sid":"')[1][:34] for text in sids}) == 1
