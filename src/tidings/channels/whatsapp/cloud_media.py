"""Files of WhatsApp: fetched for what people send, uploaded for what we send.

Source: WhatsApp Cloud API v23.0, `GET /{Media-ID}`, `POST /{Phone-Number-ID}/media`; reference "Media" (types and sizes)
"""

import asyncio
import base64
import secrets
from hashlib import sha256
from typing import Final

import msgspec

from tidings.channels.callback import Taken
from tidings.channels.errands import ErrandFailed
from tidings.channels.whatsapp.cloud_config import Config
from tidings.channels.whatsapp.graph import Fetched, Graph
from tidings.domain.attempt import InboundPart
from tidings.domain.inbound import InboundFile
from tidings.kit.limits import (
    WHATSAPP_CALL_BYTES,
    WHATSAPP_FETCHES,
    WHATSAPP_KEPT_BYTES,
    WHATSAPP_MEDIA_BYTES,
    WHATSAPP_MEDIA_S,
)

_MB: Final = 1_048_576
#: Media type → how many octets Meta takes of it.
SIZES: Final[dict[str, int]] = {
    "image/jpeg": 5 * _MB, "image/png": 5 * _MB, "image/webp": _MB // 2,
    "audio/aac": 16 * _MB, "audio/amr": 16 * _MB, "audio/mpeg": 16 * _MB, "audio/mp4": 16 * _MB, "audio/ogg": 16 * _MB,
    "video/mp4": 16 * _MB, "video/3gpp": 16 * _MB,
    "text/plain": 100 * _MB, "application/pdf": 100 * _MB, "application/msword": 100 * _MB,
    "application/vnd.ms-excel": 100 * _MB, "application/vnd.ms-powerpoint": 100 * _MB,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": 100 * _MB,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": 100 * _MB,
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": 100 * _MB,
}  # fmt: skip


def upload_problem(media_type: str, size: int) -> str | None:
    """Why Meta would not take such a file; None if it may."""
    most = SIZES.get(media_type)
    if most is None:
        return f"WhatsApp takes no {media_type or 'file without a type'}; it takes {', '.join(SIZES)}"
    if not 0 < size <= min(most, WHATSAPP_MEDIA_BYTES):
        return (
            f"a file of type {media_type} must have 1 to {min(most, WHATSAPP_MEDIA_BYTES)} bytes; this one has {size}"
        )
    return None


async def upload(config: Config, media_type: str, data: bytes) -> str:
    """Meta's id of the file, good for 30 days. Raises ErrandFailed."""
    boundary = secrets.token_hex(16)
    body = form(boundary, media_type, data)
    async with Graph(config, timeout_s=WHATSAPP_MEDIA_S) as graph:
        url = config.url(config.phone_number_id, "media")
        found = (await graph.post(url, f"multipart/form-data; boundary={boundary}", body)).get("id")
    if not isinstance(found, str) or not found:
        raise ErrandFailed("Meta took the file and gave no id")
    return found


def form(boundary: str, media_type: str, data: bytes) -> bytes:
    """The file and its two fields. Source: RFC 7578 §4"""
    fields = {"messaging_product": "whatsapp", "type": media_type}
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'Content-Disposition: form-data; name="file"; filename="file"\r\nContent-Type: {media_type}\r\n\r\n'
    return b"".join([*parts, f"--{boundary}\r\n{head}".encode(), data, f"\r\n--{boundary}--\r\n".encode()])


async def fetch(config: Config, graph: Graph, media_id: str) -> Fetched:
    """A file that somebody sent, whole as its SHA-256 says. Raises ErrandFailed."""
    found = await graph.json("GET", config.url(media_id) + f"?phone_number_id={config.phone_number_id}")
    url, size, digest = found.get("url"), str(found.get("file_size") or "0"), found.get("sha256")
    if not isinstance(url, str):
        raise ErrandFailed("Meta gave no address for the file")
    if size.isascii() and size.isdigit() and int(size) > WHATSAPP_KEPT_BYTES:
        raise ErrandFailed(f"the file has {size} bytes; at most {WHATSAPP_KEPT_BYTES} are kept")
    got = await graph.file(url)
    made = sha256(got.data)
    if isinstance(digest, str) and digest not in (made.hexdigest(), base64.b64encode(made.digest()).decode()):
        raise ErrandFailed("the file is not the one that Meta announced")
    return got


class Fetching:
    """The files of one callback: so many at once, so many octets in all. `troubles` says why some did not come."""

    def __init__(self, config: Config, graph: Graph) -> None:
        self._config, self._graph = config, graph
        self._turn = asyncio.Semaphore(WHATSAPP_FETCHES)
        self._left = WHATSAPP_CALL_BYTES
        self.troubles: list[str] = []

    async def part(self, part: InboundPart) -> InboundPart:
        """The same with its files."""
        content = part.content
        if content is None or not content.attachments:
            return part
        files = [await self._file(file) for file in content.attachments]
        return msgspec.structs.replace(part, content=msgspec.structs.replace(content, attachments=tuple(files)))

    async def _file(self, file: InboundFile) -> InboundFile:
        if not file.ref:
            return file
        try:
            async with self._turn:
                if self._left <= 0:
                    raise ErrandFailed(f"the files of one call have more than {WHATSAPP_CALL_BYTES} bytes")
                got = await fetch(self._config, self._graph, file.ref)
                self._left -= len(got.data)
        except ErrandFailed as error:
            self.troubles.append(str(error))
            return file
        return msgspec.structs.replace(file, data=base64.b64encode(got.data).decode(), size=len(got.data))


async def complete(config: Config, taken: Taken, timeout_s: float) -> tuple[Taken, list[str]]:
    """The same with the files that came in time, and why others did not. Never raises."""
    async with Graph(config, timeout_s=timeout_s) as graph:
        fetching = Fetching(config, graph)
        waiting = [asyncio.create_task(fetching.part(part)) for part in taken.inbound]
        await asyncio.wait(waiting, timeout=timeout_s)
        for task in waiting:
            task.cancel()
        came = await asyncio.gather(*waiting, return_exceptions=True)
    inbound = [part if isinstance(new, BaseException) else new for part, new in zip(taken.inbound, came, strict=True)]
    late = sum(isinstance(new, BaseException) for new in came)
    if late:
        fetching.troubles.append(f"{late} files did not come in time")
    return msgspec.structs.replace(taken, inbound=tuple(inbound)), fetching.troubles
