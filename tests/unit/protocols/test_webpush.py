"""Web Push: the vectors of RFC 8188 and 8291, and what PyPI `http-ece` and `cryptography` make of our bodies and tokens."""

from __future__ import annotations

import json
import os

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocols import jwt
from tidings.protocols.jwt import b64url, un_b64url
from tidings.protocols.webpush import ece, message, vapid

CURVE = ec.SECP256R1()


def private(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(un_b64url(text), "big"), CURVE)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def test_rfc_8188_section_3_1() -> None:
    salt, key = un_b64url("I1BsxtFttlv3u_Oo94xnmw"), un_b64url("yqdlZ-tYemfogSmv7Ws5PQ")
    body = ece.encrypt(b"I am the walrus", key, salt)
    assert b64url(body) == "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg"


def test_rfc_8291_appendix_a() -> None:
    browser = private("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")
    server = private("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")
    keys = message.Keys(point(browser), un_b64url("BTBZMqHH6r4Tts7J_aSIgg"))
    assert b64url(keys.p256dh) == (
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    )
    body = message.encrypt(
        b"When I grow up, I want to be a watermelon", keys, salt=un_b64url("DGv6ra1nlYgDCS1FRnbzlw"), ephemeral=server
    )
    assert b64url(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@given(content=st.binary(max_size=message.CONTENT_OCTETS), pad=st.integers(0, 64))
def test_http_ece_reads_it(content: bytes, pad: int) -> None:
    pad = min(pad, message.CONTENT_OCTETS - len(content))
    browser, auth = ec.generate_private_key(CURVE), os.urandom(16)
    body = message.encrypt(content, message.Keys(point(browser), auth), padding=pad)
    assert len(body) <= message.BODY_OCTETS
    assert http_ece.decrypt(body, private_key=browser, auth_secret=auth) == content


def test_nothing_is_used_twice() -> None:
    keys = message.Keys(point(ec.generate_private_key(CURVE)), os.urandom(16))
    one, other = message.encrypt(b"Hi", keys), message.encrypt(b"Hi", keys)
    assert one[: ece.SALT_OCTETS] != other[: ece.SALT_OCTETS]
    assert one[ece.HEADER_OCTETS : ece.HEADER_OCTETS + 65] != other[ece.HEADER_OCTETS : ece.HEADER_OCTETS + 65]


GOOD = point(private("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))


@pytest.mark.parametrize(
    ("p256dh", "auth", "says"),
    [
        (GOOD, bytes(15), "auth must have 16 octets, not 15"),
        (GOOD[:-1], bytes(16), "p256dh must be an uncompressed point"),
        (b"\x02" + GOOD[1:], bytes(16), "p256dh must be an uncompressed point"),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), bytes(16), "not a point on P-256"),
        (b"\x04" + bytes(64), bytes(16), "not a point on P-256"),
    ],
)
def test_bad_keys(p256dh: bytes, auth: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        message.Keys(p256dh, auth)


def test_too_long() -> None:
    keys = message.Keys(GOOD, bytes(16))
    assert len(message.encrypt(bytes(message.CONTENT_OCTETS), keys)) == message.BODY_OCTETS
    with pytest.raises(ValueError, match="at most 3993 octets, not 3994"):
        message.encrypt(bytes(message.CONTENT_OCTETS), keys, padding=1)


@pytest.mark.parametrize(
    ("salt", "key_id", "content", "says"),
    [
        (bytes(15), b"", b"", "salt"),
        (bytes(16), bytes(256), b"", "key id"),
        (bytes(16), b"", bytes(4_080), "there is room for 4079"),
    ],
)
def test_bad_records(salt: bytes, key_id: bytes, content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ece.encrypt(content, bytes(16), salt, key_id=key_id)


def parts(token: str) -> tuple[dict[str, object], dict[str, object], bytes, bytes]:
    text, _, signature = token.rpartition(".")
    header, claims = (json.loads(un_b64url(part)) for part in text.split("."))
    return header, claims, text.encode(), un_b64url(signature)


def test_es256_is_r_and_s() -> None:
    key = ec.generate_private_key(CURVE)
    for _ in range(64):  # r or s begins with a zero now and then
        header, claims, text, signature = parts(jwt.sign({"kid": "K"}, {"iss": "me"}, key))
        assert (header, claims) == ({"alg": "ES256", "kid": "K"}, {"iss": "me"})
        assert len(signature) == 64
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        key.public_key().verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(SHA256()))


def test_rs256() -> None:
    key = rsa.generate_private_key(65_537, 2_048)
    header, _, text, signature = parts(jwt.sign({"typ": "JWT"}, {}, key))
    assert header == {"alg": "RS256", "typ": "JWT"}
    key.public_key().verify(signature, text, padding.PKCS1v15(), SHA256())


def test_only_p256() -> None:
    with pytest.raises(ValueError, match="P-256"):
        jwt.sign({}, {}, ec.generate_private_key(ec.SECP384R1()))


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        ("https://push.example.com/p/1?x=2", "https://push.example.com"),
        ("https://Push.Example.COM:443/p", "https://push.example.com"),
        ("https://push.example.com:8443/p", "https://push.example.com:8443"),
        ("http://localhost:8090/notify/1", "http://localhost:8090"),
        ("https://[2001:db8::1]:444/p", "https://[2001:db8::1]:444"),
    ],
)
def test_audience(endpoint: str, origin: str) -> None:
    assert vapid.audience(endpoint) == origin


def test_vapid_header() -> None:
    key = vapid.private_key("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")
    header = vapid.authorization(key, "https://push.example.com/p/1", "mailto:ops@example.com", 1_700_000_000)
    scheme, _, fields = header.partition(" ")
    named = dict(field.split("=", 1) for field in fields.split(", "))
    assert scheme == "vapid"
    assert named["k"] == vapid.public_key(key) == b64url(point(key))
    head, claims, _, _ = parts(named["t"])
    assert head == {"alg": "ES256", "typ": "JWT"}
    assert claims == {"aud": "https://push.example.com", "exp": 1_700_000_000, "sub": "mailto:ops@example.com"}


@pytest.mark.parametrize("text", ["", "AAAA", "!" * 43, "A" * 43, "é" * 43])
def test_bad_private_keys(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are cryptography's where the number is none of the curve's
        vapid.private_key(text)
