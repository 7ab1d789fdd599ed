"""aiosmpplib's client, closed behind it."""

from __future__ import annotations

import contextlib

import aiosmpplib


class Esme(aiosmpplib.ESME):
    """aiosmpplib leaves its stream open when it stops (its fault, not ours); a later test would be blamed for it."""

    async def _disconnect(self) -> None:
        writer = self._writer
        await super()._disconnect()
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
