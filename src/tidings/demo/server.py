"""A server of the demo's own: another process, in a temporary directory, with a test key."""

import asyncio
import os
import secrets
import sys
from pathlib import Path

_CONFIG = "[webhooks]\nallow_private = true  # the demo's receiver listens on this machine\n"
_START_S = 20


class DemoServer:
    """`start` returns the URL; `stop` sends SIGTERM and waits for the drain."""

    def __init__(self, folder: Path, listen: str) -> None:
        self.key = "tk_test_" + secrets.token_hex(16)
        self._folder, self._listen = folder, listen
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """The URL, once the server says that it is ready. Raises RuntimeError with its words if it does not."""
        config = self._folder / "tidings.toml"
        config.write_text(_CONFIG)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tidings.cli", "serve", "--data", str(self._folder / "data"), "--listen", self._listen,
            "--config", str(config), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "TIDINGS_API_KEY": self.key},
        )  # fmt: skip
        assert self._process.stdout is not None
        seen: list[str] = []
        try:
            async with asyncio.timeout(_START_S):
                async for raw in self._process.stdout:
                    line = raw.decode()
                    seen.append(line)
                    if "ready at " in line:
                        return line.split("ready at ", 1)[1].split()[0]
        except TimeoutError:
            pass
        raise RuntimeError("the server did not start:\n" + "".join(seen))

    async def stop(self) -> None:
        """Ends it."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(20):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
