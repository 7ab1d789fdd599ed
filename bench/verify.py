"""How long a verification takes: from the request to the code at the carrier, and from the typed code to the answer.

    .venv/bin/python bench/verify.py [--rate 10] [--seconds 30]

A real server with its database on disk; the carrier is the SMSC simulator in this process, so that both ends of the way
have one clock. Open loop: a slow answer holds up no request. Every code is read at the carrier, checked, and has to be right.
"""

import argparse
import asyncio
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tidings.protocols.smpp.concat import decode_text
from tidings.protocols.smpp.pdu import Sm
from tidings.sandbox.sms import SandboxSmsc
from tidings_client import AsyncTidings

TIDINGS = str(Path(sys.executable).with_name("tidings"))
PATIENCE_S = 30.0


class Carrier(SandboxSmsc):
    """The simulator, with a note of when each code came."""

    def __init__(self) -> None:
        super().__init__(receipt_delay_s=0.05)
        self.codes: dict[str, asyncio.Future[tuple[str, float]]] = {}

    def code_for(self, number: str) -> "asyncio.Future[tuple[str, float]]":
        """The code that is sent there, and when it came."""
        return self.codes.setdefault(number, asyncio.get_running_loop().create_future())

    def submitted(self, sm: Sm) -> tuple[int, str] | None:
        """See SandboxSmsc."""
        at_s = time.perf_counter()
        code = re.match(r"(\d{6}) is your", decode_text(sm.short_message, sm.data_coding))
        if code is not None:
            self.code_for(sm.destination_addr.decode()).set_result((code[1], at_s))
        return super().submitted(sm)


async def one(client: AsyncTidings, carrier: Carrier, n: int, took: dict[str, list[float]]) -> None:
    """Start, read, check."""
    number = f"1500555{n:04}"
    began_s = time.perf_counter()
    started = await client.verifications.start(to="+" + number)
    took["start"].append(time.perf_counter() - began_s)
    async with asyncio.timeout(PATIENCE_S):
        code, came_s = await carrier.code_for(number)
    took["code"].append(came_s - began_s)
    began_s = time.perf_counter()
    checked = await client.verifications.check(started.id, code)
    took["check"].append(time.perf_counter() - began_s)
    assert checked.valid, checked


async def bare(client: AsyncTidings, carrier: Carrier, n: int, took: dict[str, list[float]]) -> None:
    """A message of the same class, for comparison: one commit, and nothing to be looked up before it."""
    number = f"1415555{n:04}"
    began_s = time.perf_counter()
    await client.messages.send(to="+" + number, text="000000 is your code", lane="otp")
    async with asyncio.timeout(PATIENCE_S):
        took["bare"].append((await carrier.code_for(number))[1] - began_s)


async def load(url: str, key: str, carrier: Carrier, rate: float, seconds: float) -> dict[str, list[float]]:
    """So many a second, for so long."""
    took: dict[str, list[float]] = {"start": [], "code": [], "check": [], "bare": []}
    async with AsyncTidings(key, url) as client, asyncio.TaskGroup() as group:
        for n in range(20):  # connections and caches
            await one(client, carrier, 9_000 + n, {"start": [], "code": [], "check": []})
        first_s = time.perf_counter()
        for n in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, first_s + n / rate - time.perf_counter()))
            group.create_task(one(client, carrier, 10 + n % 8_000, took))
            await asyncio.sleep(0.5 / rate)
            group.create_task(bare(client, carrier, 10 + n % 8_000, took))
    return took


async def main() -> None:
    """Prints the percentiles, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=10.0, help="verifications a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    carrier, key = Carrier(), f"tk_live_{secrets.token_hex(24)}"
    await carrier.start()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "tidings.toml"
        config.write_text(
            f'[[providers]]\nname = "carrier"\ntype = "sms.smpp"\nhost = "127.0.0.1"\nport = {carrier.port}\n'
            'system_id = "sandbox"\npassword = "sandbox"\n'
        )
        command = [TIDINGS, "serve", "--data", f"{folder}/data", "--listen", "127.0.0.1:0", "--config", str(config)]
        server = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, env={**os.environ, "TIDINGS_API_KEY": key}
        )
        assert server.stdout is not None
        async with asyncio.timeout(60):
            while b"http://" not in (line := await server.stdout.readline()):
                assert line, "the server ended"
        url = "http://" + line.decode().split("http://")[1].split()[0]
        try:
            took = await load(url, key, carrier, asked.rate, asked.seconds)
        finally:
            server.terminate()
            await server.wait()
    await carrier.stop()
    series = {
        "code": "request → code at the carrier", "start": "request → answer", "check": "check",
        "bare": "for comparison: a bare message",
    }  # fmt: skip
    for name, what in series.items():
        cuts = statistics.quantiles(took[name], n=1000)
        shown = "  ".join(f"p{p} {cuts[round(p * 10) - 1] * 1000:.1f}" for p in (50, 90, 99, 99.9))
        print(f"{what:30} n={len(took[name])}  {shown}  max {max(took[name]) * 1000:.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
