"""Calls to the Graph API beside the messages: templates, files and read marks. Each has a deadline and a size.

A client lives as long as one errand: what runs here is rare, and a provider that only reads callbacks is never stopped.
"""

from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from tidings.channels.errands import ErrandFailed
from tidings.channels.http.json import json_of
from tidings.channels.whatsapp.cloud_config import Config
from tidings.kit.limits import WHATSAPP_KEPT_BYTES
from tidings.kit.outbound import Guard, NoReply, NotSent, Outbound, Reply

JSON_BYTES: Final = 4_194_304
AGENT: Final = "Tidings/0.1.0"  # Meta's document wants three numbers
#: Where Meta keeps files. A token is never sent anywhere else, whatever an answer says.
_META: Final = ("facebook.com", "fbsbx.com", "fbcdn.net", "whatsapp.net", "whatsapp.com")


class Fetched(msgspec.Struct, frozen=True):
    """A file."""

    media_type: str
    data: bytes


class Graph:
    """One errand: `async with Graph(config) as graph`."""

    def __init__(self, config: Config, *, timeout_s: float | None = None) -> None:
        self._config = config
        self._timeout_s = config.response_timeout_s if timeout_s is None else timeout_s
        self._client = Outbound(Guard(allow=config.allow_networks), timeout_s=self._timeout_s)

    async def __aenter__(self) -> "Graph":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def json(self, method: str, url: str, body: object = None) -> dict[str, Any]:
        """The answer of a call that was taken. Raises ErrandFailed."""
        sent = None if body is None else msgspec.json.encode(body)
        headers = {} if sent is None else {"Content-Type": "application/json"}
        return read(await self._exchange(method, url, headers, sent, JSON_BYTES))

    async def post(self, url: str, media_type: str, body: bytes) -> dict[str, Any]:
        """The same with a body of any type."""
        return read(await self._exchange("POST", url, {"Content-Type": media_type}, body, JSON_BYTES))

    async def file(self, url: str) -> Fetched:
        """What lies behind the address that Meta gives for a file. Raises ErrandFailed."""
        if not self._trusted(url):
            raise ErrandFailed("the file lies with a host that is not Meta's")
        reply = await self._exchange("GET", url, {}, None, WHATSAPP_KEPT_BYTES + 1)
        if reply.status != 200:
            raise ErrandFailed(f"the file cannot be fetched (HTTP {reply.status})")
        if len(reply.body) > WHATSAPP_KEPT_BYTES:
            raise ErrandFailed(f"the file has more than {WHATSAPP_KEPT_BYTES} bytes")
        return Fetched(reply.headers.get("content-type", "application/octet-stream").split(";")[0].strip(), reply.body)

    async def _exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, most_bytes: int
    ) -> Reply:
        came = await self._client.exchange(
            method, url, {**headers_of(self._config), **headers}, body, connect_s=self._config.connect_timeout_s,
            timeout_s=self._timeout_s, most_bytes=most_bytes,
        )  # fmt: skip
        if isinstance(came, NotSent | NoReply):
            raise ErrandFailed(f"Meta cannot be reached: {came.reason}")
        return came

    def _trusted(self, url: str) -> bool:
        try:
            parts, own = urlsplit(url), urlsplit(self._config.base_url)
            host = parts.hostname or ""
            same = (parts.scheme, host, parts.port) == (own.scheme, own.hostname, own.port)
        except ValueError:
            return False
        meta = parts.scheme == "https" and any(host == name or host.endswith(f".{name}") for name in _META)
        return parts.username is None and (same or meta)


def headers_of(config: Config) -> dict[str, str]:
    """What every call has."""
    return {"Authorization": f"Bearer {config.access_token}", "Accept": "application/json", "User-Agent": AGENT}


def read(reply: Reply) -> dict[str, Any]:
    """The object of a 2xx. Raises ErrandFailed with Meta's code for anything else."""
    found = json_of(reply.body)
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if 200 <= reply.status < 300:
        return fields
    error = fields.get("error")
    code = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None
    raise ErrandFailed(f"Meta refuses: HTTP {reply.status}" + (f", code {code}" if isinstance(code, int) else ""))
