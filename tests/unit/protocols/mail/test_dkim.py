"""Our DKIM signatures, judged by dkimpy and npm `mailauth`."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from conftest import require_peer
from tidings.protocols.mail.dkim import DkimError, DkimKey, read_key, relaxed_body, relaxed_field, signed
from tidings.protocols.mail.headers import Mailbox
from tidings.protocols.mail.mime import Attachment, Mail, Part, build, octets

NOW_S = 1_764_000_000


def pem(key: rsa.RSAPrivateKey | Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


RSA = read_key("example.com", "rsa1", pem(rsa.generate_private_key(65537, 2048)))
ED = read_key("example.com", "ed1", pem(Ed25519PrivateKey.generate()))
PLAIN = Mail(
    sender=Mailbox("ann", "example.com", "Ann"), to=(Mailbox("bob", "example.net"),), subject="Grüße  aus  Köln " * 9,
    message_id="m-1@example.com", date_ms=NOW_S * 1000, text="Hi  \n\n trailing \t\n\n\n", html="<p>Grüße",
    unsubscribe_url="https://example.com/u", headers=(("Feedback-ID", "a:b"),),
    attachments=(Attachment(name="a.bin", media="application/x-b", data=bytes(range(256))),),
)  # fmt: skip


def verified(raw: bytes, *keys: DkimKey) -> list[bool]:
    """What dkimpy says of the signatures, from the first on."""
    records = {f"{key.selector}._domainkey.{key.domain}.".encode(): key.record.encode() for key in keys}
    judge = dkim.DKIM(raw)
    found: list[bool] = []
    for n in range(len(keys)):
        try:
            found.append(judge.verify(idx=n, dnsfunc=lambda name, timeout=5: records.get(name)))
        except dkim.ValidationError:
            found.append(False)
    return found


@pytest.mark.parametrize("keys", [(RSA,), (ED,), (RSA, ED)])
@pytest.mark.parametrize("eight_bit", [False, True])
def test_dkimpy_agrees(keys: tuple[DkimKey, ...], eight_bit: bool) -> None:
    raw = octets(signed(build(PLAIN, eight_bit=eight_bit), keys, NOW_S))
    assert verified(raw, *keys) == [True] * len(keys)
    assert all(len(line) <= 78 for line in raw.partition(b"\r\nDate")[0].split(b"\r\n"))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda raw: raw.replace(b"Subject: ", b"Subject: no ", 1), lambda raw: raw + b"more\r\n",
        lambda raw: b"From: eve@example.com\r\n" + raw, lambda raw: b"Subject: eve\r\n" + raw,
        lambda raw: b"Cc: eve@example.com\r\n" + raw, lambda raw: b"Reply-To: eve@example.com\r\n" + raw,
        lambda raw: raw.replace(b"One-Click", b"Two-Click", 1),
    ],
)  # fmt: skip
def test_what_was_changed_does_not_verify(tamper: object) -> None:
    """A second From, Subject, Cc or Reply-To too: they are oversigned."""
    assert callable(tamper)
    raw = octets(signed(build(PLAIN), (RSA, ED), NOW_S))
    assert verified(tamper(raw), RSA, ED) == [False, False]


BODIES = [b"\r\n", b"\r\n\r\n", b" \r\n", b"a \t b \r\n\r\n \r\n", b"\t\r\n\r\n", b"a\r\n", b" a\r\n"]


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"b", b"\r", b"\n"]), max_size=12).map(b"".join)
    | st.sampled_from(BODIES)
)
def test_relaxed_body(body: bytes) -> None:
    """As dkimpy canonicalises, for bodies as they are sent: lines that end in CRLF."""
    if b"\r" in body.replace(b"\r\n", b"") or b"\n" in body.replace(b"\r\n", b"") or not body.endswith(b"\r\n"):
        return
    assert relaxed_body(body) == dkim.canonicalization.Relaxed.canonicalize_body(body)


@pytest.mark.parametrize("field", [b"Subject:  a \t b\r\n\tc \r\n", b"X:\r\n", b"X : y\r\n", b"A:b\r\n  \r\n c\r\n"])
def test_relaxed_field(field: bytes) -> None:
    name, _, value = field.partition(b":")
    ((theirs, text),) = dkim.canonicalization.Relaxed.canonicalize_headers([(name, value)])
    assert relaxed_field(field) == theirs + b":" + text


@pytest.mark.parametrize("keys", [(RSA,), (ED,), (RSA, ED)])
def test_mailauth_agrees(tmp_path: Path, keys: tuple[DkimKey, ...]) -> None:
    """Signature and alignment with From (DMARC), by npm `mailauth`."""
    require_peer("node")
    require_peer("npm-mailauth")
    mail = tmp_path / "mail.eml"
    mail.write_bytes(octets(signed(build(PLAIN), keys, NOW_S)))
    cache = {
        f"{key.selector}._domainkey.example.com": {"TXT": [[key.record]]} for key in keys
    } | {"_dmarc.example.com": {"TXT": [["v=DMARC1; p=reject; adkim=s"]]}}  # fmt: skip
    (tmp_path / "dns.json").write_text(json.dumps(cache))
    peers = Path(__file__).parents[3] / "peers"
    done = subprocess.run(
        ["node", "mailauth.js", str(mail), str(tmp_path / "dns.json")], cwd=peers, capture_output=True, timeout=60,
        check=True
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert [(one["result"], one["aligned"]) for one in said["dkim"]] == [("pass", "example.com")] * len(keys)
    assert said["dmarc"] == "pass"


def test_keys() -> None:
    raw = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    assert read_key("example.com", "a", base64.b64encode(raw).decode()).record.startswith("v=DKIM1; k=ed25519; p=")
    assert RSA.record.startswith("v=DKIM1; k=rsa; p=")


@pytest.mark.parametrize(
    ("domain", "selector", "key", "said"),
    [
        ("example", "a", "", "domain"), ("exa mple.com", "a", "", "domain"), ("example.com; x=y", "a", "", "domain"),
        ("example.com", "a;b", "", "selector"), ("example.com", "", "", "selector"), ("example.com", "a", "zzz", "PEM"),
        ("example.com", "a", base64.b64encode(b"x" * 31).decode(), "32 octets"),
        ("example.com", "a", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "passphrase"),
        ("example.com", "a", pem(rsa.generate_private_key(65537, 1024)), "1024"),
        ("example.com", "a", pem(ec.generate_private_key(ec.SECP256R1())), "RSA or Ed25519"),
    ],
)  # fmt: skip
def test_keys_that_cannot_sign(domain: str, selector: str, key: str, said: str) -> None:
    with pytest.raises(DkimError, match=said):
        read_key(domain, selector, key)


def test_no_keys_no_signature() -> None:
    part = Part((b"From: a@b.test\r\n",), b"x\r\n")
    assert signed(part, (), NOW_S) is part
