"""How many pushes a second go over one HTTP/2 connection to Node's http2: `.venv/bin/python bench/push.py [COUNT]`.

The peer verifies the provider token and reads headers and payload of each; it shares the machine with us.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from peers.apns import apns_config, apns_peer, certificate
from peers.carriers import RecordingSink
from tidings.channels.contract import ProviderSpec
from tidings.channels.push.apns import ApnsProvider
from tidings.domain.attempt import PartSent, Submission
from tidings.domain.push import PushContent

CONTENT = PushContent(title="Order 7", body="It has been shipped", data={"order": "7"}, badge=1, collapse_key="order-7")


async def main(count: int, folder: Path) -> None:
    """Three runs of `count` pushes, fed as the dispatcher feeds: as much as there is credit for."""
    key, cert = certificate(folder)
    async with apns_peer((key, cert), keep_bodies=False) as peer:
        sink = RecordingSink()
        config = apns_config(peer.port, "https", ca_pem=cert.read_text(), window=500)
        provider = ApnsProvider(ProviderSpec(name="bench", type="push.apns", config=config), sink)
        await provider.start()
        for run in range(3):
            await _run(provider, sink, count, run)
        told = await peer.command("count")
        print(f"connections {told['connections']}, most streams at once {told['most_streams']}")
        await provider.stop(1)


async def _run(provider: ApnsProvider, sink: RecordingSink, count: int, run: int) -> None:
    sink.done.clear()
    start, cpu, sent = time.monotonic(), time.process_time(), 0
    while len(sink.done) < count:
        room = min(count - sent, provider.credit("transactional"))
        if room > 0:
            provider.submit([_push(f"{run}.{sent + n}") for n in range(room)])
            sent += room
        await asyncio.sleep(0.002)
    took_s, cpu_s = time.monotonic() - start, time.process_time() - cpu
    assert all(isinstance(part, PartSent) for done in sink.done for part in done.parts)
    print(f"{count / took_s:,.0f} pushes/s, {cpu_s / count * 1e6:.0f} µs of our CPU each")


def _push(name: str) -> Submission:
    return Submission(
        attempt_id=name,
        message_id=name,
        lane="transactional",
        to="ab" * 32,
        sender=None,
        channel="push",
        content=CONTENT,
    )


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, Path(made)))
