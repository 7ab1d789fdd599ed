"""Whether it is the carrier that calls, by the `callbacks.verify` table of `sms.http`. Compared in constant time."""

import base64
import binascii
import datetime as dt
import hmac
import ipaddress
from typing import Final
from urllib.parse import quote

from tidings.channels.callback import PATH, RawRequest
from tidings.channels.described.compile import SIGNED_IN, Refuse
from tidings.channels.described.config import Config, Verify
from tidings.channels.described.pick import Said
from tidings.channels.described.template import TemplateError, plain
from tidings.channels.http.keys import check_network

_KINDS: Final = ("header", "query", "field", "json")


class Verifier:
    """Compiled once."""

    def __init__(self, name: str, config: Config, verify: Verify) -> None:
        """Raises `SettingsError` with the pointer of what cannot be used."""
        refuse, here = Refuse(name), "/callbacks/verify"
        self._config, self._verify = config, verify
        self._at = refuse.pick(f"{here}/at", verify.at, _KINDS)
        self._timestamp = refuse.pick(f"{here}/timestamp", verify.timestamp, _KINDS)
        self._signed = refuse.template(f"{here}/signed", verify.signed, SIGNED_IN)
        self._url = config.public_url.rstrip("/") + PATH + quote(name, safe="")
        for key in ("networks", "trusted_proxies"):
            for network in getattr(verify, key):
                check_network(name, f"{here}/{key}", network)
        self._networks = [ipaddress.ip_network(text) for text in verify.networks]
        self._proxies = [ipaddress.ip_network(text) for text in verify.trusted_proxies]
        self._check(refuse, here)

    def _check(self, refuse: Refuse, here: str) -> None:
        config, verify = self._config, self._verify
        if verify.kind in ("hmac", "secret") and self._at is None:
            raise refuse.error(f"{here}/at", "is needed: where the carrier puts it, for example header:X-Signature")
        if verify.kind in ("hmac", "secret") and len(config.callback_secret) < 4:
            raise refuse.error("/callback_secret", f"is needed for `verify` of kind {verify.kind}")
        if verify.kind == "basic" and not (config.callback_username and config.callback_password):
            raise refuse.error("/callback_password", "and `callback_username` are needed for `verify` of kind basic")
        if verify.kind == "address" and not verify.networks:
            raise refuse.error(f"{here}/networks", "is needed: the carrier's addresses, for example 203.0.113.0/24")
        if verify.kind == "hmac":
            names = self._signed.names
            if not names & {"body", "url", "query"} and not any(name.startswith("header:") for name in names):
                raise refuse.error(f"{here}/signed", "must hold what is signed, {body} at least in most cases")
            if names & {"url", "url_base"} and not config.public_url:
                raise refuse.error("/public_url", "is needed: the carrier signs the URL that it called")
            if ("timestamp" in names) != (self._timestamp is not None):
                raise refuse.error(f"{here}/timestamp", "goes with {timestamp} in `signed`: where the carrier puts it")

    def doubt(self, request: RawRequest, said: Said) -> str | None:
        """Why it is not the carrier; None if it is."""
        if self._networks and not self._from_network(request):
            return "the address is not one of the carrier's"
        match self._verify.kind:
            case "hmac":
                return self._hmac(request, said)
            case "secret":
                given = self._at.of(said) if self._at is not None else None
                return None if _same(given, self._config.callback_secret) else "the secret is not ours"
            case "basic":
                login = f"{self._config.callback_username}:{self._config.callback_password}".encode()
                wanted = f"Basic {base64.b64encode(login).decode()}"
                return None if _same(request.headers.get("authorization"), wanted) else "the password is not ours"
            case _:
                return None

    def _hmac(self, request: RawRequest, said: Said) -> str | None:
        verify = self._verify
        given = self._at.of(said) if self._at is not None else None
        if given is None or not given.startswith(verify.prefix):
            return "there is no signature"
        stamp = self._timestamp.of(said) if self._timestamp is not None else None
        if self._timestamp is not None and not self._fresh(stamp, request.received_ms):
            return "the signature is too old, or from the future"
        if verify.kind == "hmac" and self._config.callback_secret == "":
            return "there is no secret"
        values: dict[str, str | None] = {
            "method": request.method, "query": request.query, "timestamp": stamp, "url_base": self._url,
            "url": f"{self._url}?{request.query}" if request.query else self._url,
            # one octet, one character: the signed octets are those that came, whatever they are
            "body": request.body.decode("latin-1"),
        }  # fmt: skip
        values |= {f"header:{name}": value for name, value in request.headers.items()}
        try:
            signed = self._signed.render(values, plain)
        except TemplateError:
            return "what is signed cannot be put together"
        if signed is None:
            return "a header that is signed is missing"
        made = hmac.digest(self._config.callback_secret.encode(), signed.encode("latin-1", "replace"), verify.algorithm)
        return None if _same_digest(given[len(verify.prefix) :], made, verify.digest) else "the signature does not fit"

    def _fresh(self, stamp: str | None, now_ms: int) -> bool:
        when = _millis(stamp, self._verify.timestamp_unit)
        return when is not None and abs(now_ms - when) <= self._verify.tolerance_s * 1_000

    def _from_network(self, request: RawRequest) -> bool:
        try:
            peer = _address(request.peer)
            if any(peer in network for network in self._proxies if network.version == peer.version):
                peer = _address(request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip())
        except ValueError:
            return False
        return any(peer in network for network in self._networks if network.version == peer.version)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Raises ValueError. An IPv4 address that a dual-stack socket shows as IPv6 is one of IPv4."""
    found = ipaddress.ip_address(text)
    return found if isinstance(found, ipaddress.IPv4Address) else found.ipv4_mapped or found


def _same(given: str | None, wanted: str) -> bool:
    return given is not None and bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def _same_digest(given: str, made: bytes, form: str) -> bool:
    try:
        raw = bytes.fromhex(given) if form == "hex" else base64.b64decode(given, validate=True)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(raw, made)


def _millis(stamp: str | None, unit: str) -> float | None:
    if stamp is None or len(stamp) > 40:
        return None
    try:
        if stamp.isascii() and stamp.isdigit():
            return float(stamp) * (1_000 if unit == "s" else 1)
        when = dt.datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return (when if when.tzinfo is not None else when.replace(tzinfo=dt.UTC)).timestamp() * 1_000
