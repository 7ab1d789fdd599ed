"""Access tokens: asked for once, renewed in time, refused ones replaced once; the token endpoint is the simulator's."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.auth import jwt as google_jwt

from tidings.channels.push.google_auth import (
    EARLY_S,
    PAUSE_S,
    SCOPE,
    AccessTokens,
    AuthorizedTransport,
    ServiceAccount,
    private_key,
    read_account,
)
from tidings.kit.outbound import NoReply, NotSent, Reply
from tidings.sandbox.push_fcm import TokenDesk

KEY = rsa.generate_private_key(65_537, 2_048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
URI = "https://oauth2.example.com/token"
ACCOUNT = ServiceAccount(
    client_email="sender@acme.iam.gserviceaccount.com", private_key=PEM, project_id="acme", private_key_id="k1", token_uri=URI
)  # fmt: skip
NOW_S = 1_700_000_000


class Google:
    """Token endpoint and FCM, as one transport."""

    def __init__(self) -> None:
        self.desk = TokenDesk(ACCOUNT.client_email, KEY.public_key(), URI)
        self.now = 0.0
        self.bodies: list[bytes] = []
        self.tokens: list[str] = []
        self.next: list[Reply | NotSent | NoReply] = []
        self.answers: list[Reply] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    async def exchange(self, method: str, url: str, headers: dict[str, str], body: bytes | None, **more: Any) -> Any:
        assert method == "POST"
        assert more["timeout_s"] > 0
        if url != URI:
            self.tokens.append(headers["Authorization"])
            good = self.desk.takes(headers["Authorization"], int(NOW_S + self.now))
            if self.answers:
                return self.answers.pop(0)
            return Reply(200, {}, b"{}") if good else Reply(401, {}, b'{"error": {"status": "UNAUTHENTICATED"}}')
        self.bodies.append(body or b"")
        await self.gate.wait()
        if self.next:
            return self.next.pop(0)
        answer = self.desk.give((body or b"").decode(), int(NOW_S + self.now))
        return Reply(answer.status, {}, json.dumps(answer.body).encode())

    async def close(self) -> None:
        self.closed = True

    def tokens_of(self) -> AccessTokens:
        return AccessTokens(
            ACCOUNT, KEY, self, connect_s=1, timeout_s=5, clock=lambda: int((NOW_S + self.now) * 1_000),
            monotonic=lambda: self.now,
        )  # fmt: skip


async def send(wire: AuthorizedTransport) -> Reply | NotSent | NoReply:
    return await wire.exchange(
        "POST", "https://fcm.example.com", {"A": "b"}, b"{}", connect_s=1, timeout_s=5, most_bytes=99
    )


async def status(wire: AuthorizedTransport) -> int:
    came = await send(wire)
    assert isinstance(came, Reply)
    return came.status


async def test_the_assertion_is_what_google_reads() -> None:
    google = Google()
    assert isinstance(await google.tokens_of().get(1), str)
    (form,) = (parse_qs(body.decode()) for body in google.bodies)
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assertion = form["assertion"][0]
    header, claims, _, _ = google_jwt._unverified_decode(assertion)  # google-auth refuses one that is as old as this
    assert google_jwt.crypt.verify_signature(assertion.rpartition(".")[0], _signature(assertion), public)
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert claims == {"iss": ACCOUNT.client_email, "scope": SCOPE, "aud": URI, "iat": NOW_S, "exp": NOW_S + 3_600}


def _signature(token: str) -> bytes:
    return google_jwt._unverified_decode(token)[3]


async def test_many_ask_once() -> None:
    google = Google()
    google.gate.clear()
    tokens = google.tokens_of()
    asking = [asyncio.create_task(tokens.get(5)) for _ in range(50)]
    await asyncio.sleep(0)
    google.gate.set()
    assert len(set(await asyncio.gather(*asking))) == 1
    assert len(google.bodies) == 1


async def test_renewed_before_it_expires_while_the_old_one_serves() -> None:
    google, tokens = (g := Google()), g.tokens_of()
    first = await tokens.get(1)
    google.now = 3_599 - EARLY_S - 1
    assert await tokens.get(1) == first
    google.now += 2
    assert await tokens.get(1) == first  # nobody waits
    await asyncio.sleep(0.01)
    second = await tokens.get(1)
    assert second != first
    assert len(google.bodies) == 2


async def test_a_renewal_that_fails_leaves_the_old_token_and_is_not_hammered() -> None:
    google, tokens = (g := Google()), g.tokens_of()
    first = await tokens.get(1)
    google.now = 3_599 - EARLY_S + 1
    google.next = [Reply(503, {}, b""), NoReply("no answer in time", timed_out=True)]
    for _ in range(20):
        assert await tokens.get(1) == first
        await asyncio.sleep(0)
    assert len(google.bodies) == 2
    google.now += PAUSE_S
    assert await tokens.get(1) == first
    await asyncio.sleep(0.01)
    assert len(google.bodies) == 3
    google.now = 3_600
    assert await tokens.get(1) != first  # too old: this one waits for the new one


@pytest.mark.parametrize(
    ("came", "says"),
    [
        (NotSent("no connection in time"), "no connection in time"),
        (NoReply("no answer in time", timed_out=True), "no answer in time"),
        (Reply(503, {}, b""), "HTTP 503"),
        (Reply(429, {}, b""), "HTTP 429"),
        (Reply(200, {}, b"<html>"), "has none"),
        (Reply(200, {}, b'{"access_token": "a\\nb"}'), "has none"),
        (Reply(200, {}, b'{"access_token": ""}'), "has none"),
    ],
)
async def test_no_token_is_not_sent(came: Any, says: str) -> None:
    google = Google()
    google.next = [came]
    found = await send(AuthorizedTransport(google, google.tokens_of(), lambda: google.now))
    assert isinstance(found, NotSent)
    assert says in found.reason
    assert google.tokens == []


async def test_a_slow_token_endpoint_has_a_deadline() -> None:
    google = Google()
    google.gate.clear()
    tokens = google.tokens_of()
    assert await tokens.get(0.01) == NotSent("no access token in time")
    await AuthorizedTransport(google, tokens).close()
    assert google.closed


async def test_a_refused_account_is_told_as_it_came() -> None:
    google = Google()
    google.next = [Reply(400, {}, b'{"error": "invalid_grant"}')]
    found = await send(AuthorizedTransport(google, google.tokens_of(), lambda: google.now))
    assert found == Reply(400, {}, b'{"error": "invalid_grant"}')


async def test_a_revoked_token_is_replaced_once() -> None:
    google = Google()
    wire = AuthorizedTransport(google, google.tokens_of(), lambda: google.now)
    assert await status(wire) == 200
    google.desk.revoke()
    assert await status(wire) == 200
    assert len(google.tokens) == 3
    assert len(google.bodies) == 2
    google.answers = [Reply(401, {}, b""), Reply(401, {}, b"")]
    assert await status(wire) == 401
    assert len(google.tokens) == 5


async def test_third_party_trouble_is_not_our_token() -> None:
    google = Google()
    wire = AuthorizedTransport(google, google.tokens_of(), lambda: google.now)
    google.answers = [Reply(401, {}, b'{"error": {"details": [{"errorCode": "THIRD_PARTY_AUTH_ERROR"}]}}')]
    assert await status(wire) == 401
    assert (len(google.tokens), len(google.bodies)) == (1, 1)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("{", "is not JSON"), ("[]", "Expected `object`"), ({}, "client_email"),
        ({"client_email": "a", "private_key": 7, "project_id": "p"}, "private_key"),
    ],
)  # fmt: skip
def test_bad_accounts(raw: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_account(raw)


def test_bad_keys() -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    pem = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for text, says in ((pem, "no RSA key"), ("-----BEGIN", "no PEM key"), ("", "no PEM key")):
        account = ServiceAccount(client_email="a", private_key=text, project_id="p")
        with pytest.raises(ValueError, match=says):
            private_key(account)
        assert text not in repr(account) or not text
