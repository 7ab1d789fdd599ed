"""A server of the demo's own: another process, in a directory of its own, with a live key, and two carriers beside it."""

import asyncio
import os
import secrets
import sys
from pathlib import Path

from tidings.demo.carriers import Carriers

_CONFIG = "[webhooks]\nallow_private = true  # the demo's receiver listens on this machine\n"
_START_S = 20
_STOP_S = 20


class DemoServer:
    """`start` returns the URL; `stop` sends SIGTERM and waits for the drain."""

    def __init__(self, folder: Path, listen: str, data: Path | None = None) -> None:
        self.key = "tk_live_" + secrets.token_hex(16)
        self.carriers = Carriers()
        self._folder, self._listen, self._data = folder, listen, data or folder / "data"
        self._process: asyncio.subprocess.Process | None = None
        self._drain: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """The URL, once the server says that it is ready. Raises RuntimeError with its words if it does not."""
        config = self._folder / "tidings.toml"
        await self.carriers.start()
        config.write_text(_CONFIG + self.carriers.config)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidings.cli", "serve", "--data", str(self._data), "--listen", self._listen,
            "--config", str(config), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env={**os.environ, "TIDINGS_API_KEY": self.key},
        )  # fmt: skip
        said = self._process.stdout
        assert said is not None
        seen: list[str] = []
        try:
            async with asyncio.timeout(_START_S):
                async for raw in said:
                    line = raw.decode(errors="replace")
                    seen.append(line)
                    if "ready at " in line:
                        self._drain = asyncio.create_task(_drop(said))
                        return line.split("ready at ", 1)[1].split()[0]
        except TimeoutError:
            seen.append(f"(nothing more for {_START_S} s)")
        raise RuntimeError("the server did not start:\n" + "".join(seen))

    async def stop(self) -> None:
        """Ends it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._drain is not None:
            await self._drain
        await self.carriers.stop()


async def _drop(said: asyncio.StreamReader) -> None:
    """Reads its log to the end: a pipe that nobody empties fills up and stops the server."""
    while await said.read(65_536):
        pass
