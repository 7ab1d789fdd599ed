"""Mails over one SMTP connection: our provider beside aiosmtplib's bare loop, on the same sink, in turn; and DKIM.

    .venv/bin/python bench/mails.py [MAILS] [PAIRS]

The sink is a process of its own that answers as Postfix would and reads nothing of the mail. aiosmtplib gets finished
mails; the provider writes, signs (with DKIM=rsa, or DKIM=both for RSA and Ed25519) and accounts for each of its own.
`loop` is the processor time that a mail costs the event loop's thread: others cannot run meanwhile. It depends little on
what else the machine does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection

import aiosmtplib
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidings.channels.contract import Link, ProviderSpec
from tidings.channels.email.compose import Identity, letter
from tidings.channels.email.smtp import SmtpProvider
from tidings.domain.attempt import Outcome, PartSent, Submission
from tidings.domain.email import EmailContent
from tidings.kit.ids import new_id
from tidings.protocols.mail.dkim import read_key, signed
from tidings.protocols.mail.mime import Part

OFFERS = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n"
TEXT = "Hello Bob,\n\nyour order 4711 has left our house and will be with you on Friday.\n\n" * 4


class Sink(asyncio.Protocol):
    """Takes everything."""

    def __init__(self) -> None:
        self._buffer, self._in_mail = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = transport
        transport.write(b"220 sink\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while True:
            end = b"\r\n.\r\n" if self._in_mail else b"\r\n"
            line, found, rest = self._buffer.partition(end)
            if not found:
                break
            self._buffer = rest
            if self._in_mail:
                self._in_mail = False
                answers.append(b"250 2.0.0 Ok: queued\r\n")
            elif line.upper().startswith(b"DATA"):
                self._in_mail = True
                answers.append(b"354 End data with <CR><LF>.<CR><LF>\r\n")
            else:
                answers.append(OFFERS if line.upper().startswith(b"EHLO") else b"250 2.1.0 Ok\r\n")
        self._out.write(b"".join(answers))  # type: ignore[attr-defined]


def sink_process(pipe: Connection) -> None:
    """Serves until it is killed."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


class Counter:
    """A sink for outcomes: keeps handing over while there is room, as the dispatcher does."""

    def __init__(self) -> None:
        self.done = 0
        self.bad: list[Outcome] = []
        self.changed = asyncio.Event()

    def outcomes(self, provider: str, batch: list[Outcome]) -> None:
        self.done += len(batch)
        self.bad += [one for one in batch if not isinstance(one.parts[0], PartSent)]
        self.changed.set()

    async def received(self, provider: str, receipts: object, inbound: object) -> None: ...

    def ready(self, provider: str) -> None:
        self.changed.set()

    def link_changed(self, provider: str, link: Link) -> None:
        self.changed.set()


def submission(n: int) -> Submission:
    return Submission(
        attempt_id=new_id("att"), message_id=f"msg_{n}", lane="transactional", to=f"bob{n}@d{n % 50}.example.net", sender=None,
        channel="email", content=EmailContent(subject=f"Order {n}", text=TEXT),
    )  # fmt: skip


async def ours(port: int, mails: int, dkim: list[dict[str, str]]) -> tuple[float, float]:
    """Mails a second, and microseconds of the loop's thread for each."""
    config = {
        "host": "127.0.0.1", "port": port, "tls": "none", "connections": 1, "domain_concurrency": 100,
        "sender": "Ann <ann@example.com>",
        "allow_networks": ["127.0.0.0/8"], "mails_per_connection": 100_000, "mail_secret": "a secret for the bench",
        "bounce_domain": "bounce.test", "dkim": dkim,
    }  # fmt: skip
    counter = Counter()
    provider = SmtpProvider(ProviderSpec(name="bench", type="email.smtp", config=config), counter)  # type: ignore[arg-type]
    await provider.start()
    while not provider.credit("transactional"):
        await counter.changed.wait()
        counter.changed.clear()
    waiting = [submission(n) for n in range(mails)]
    start, on_loop = time.perf_counter(), time.thread_time()
    while counter.done < mails:
        counter.changed.clear()
        room = provider.credit("transactional")
        if room > 0 and waiting:
            batch, waiting = waiting[:room], waiting[room:]
            provider.submit(batch)
        await counter.changed.wait()
    took, on_loop = time.perf_counter() - start, time.thread_time() - on_loop
    await provider.stop(0)
    assert not counter.bad, counter.bad[0]
    return mails / took, on_loop / mails * 1e6


async def theirs(port: int, mails: int) -> float:
    """Mails a second of aiosmtplib's bare loop: finished octets, one connection."""
    identity = Identity(sender="Ann <ann@example.com>")
    ready = [letter(submission(n), identity, 0) for n in range(mails)]
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        start = time.perf_counter()
        for one in ready:
            await client.sendmail(one.sender, [one.recipient], one.data)
        return mails / (time.perf_counter() - start)


def keys() -> list[dict[str, str]]:
    """RSA-2048 and Ed25519."""
    made = [rsa.generate_private_key(65537, 2048), Ed25519PrivateKey.generate()]
    pems = [
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        for key in made
    ]
    return [{"domain": "example.com", "selector": f"s{n}", "private_key": pem.decode()} for n, pem in enumerate(pems)]


def signatures() -> None:
    """How many mails each key signs in a second."""
    part = Part(
        (b"From: Ann <ann@example.com>\r\n", b"To: bob@example.net\r\n", b"Subject: x\r\n"),
        TEXT.replace("\n", "\r\n").encode(),
    )
    for config in keys():
        key = read_key(config["domain"], config["selector"], config["private_key"])
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < 1.0:
            signed(part, [key], count)
            count += 1
        print(f"DKIM {key.record.split('k=')[1].split(';')[0]}: {count} signatures/s")


def main() -> None:
    mails, pairs = (int(sys.argv[n]) if len(sys.argv) > n else usual for n, usual in ((1, 3_000), (2, 7)))
    asked = os.environ.get("DKIM", "")
    dkim = keys()[: 1 if asked == "rsa" else 2] if asked else []
    here, there = multiprocessing.Pipe()
    sink = multiprocessing.Process(target=sink_process, args=(there,), daemon=True)
    sink.start()
    port = here.recv()
    ratios, costs = list[float](), list[float]()
    for _ in range(pairs):
        (mine, cost), other = uvloop.run(ours(port, mails, dkim)), uvloop.run(theirs(port, mails))
        ratios.append(mine / other)
        costs.append(cost)
        print(f"tidings {mine:7.0f}/s   aiosmtplib {other:7.0f}/s   ratio {mine / other:.2f}   loop {cost:4.0f} us")
    median, least = statistics.median(ratios), min(ratios)
    print(f"median ratio {median:.2f} (least {least:.2f}, {pairs} pairs of {mails} mails, {len(dkim)} DKIM keys)")
    print(f"loop {statistics.median(costs):.0f} us a mail; load of the machine {os.getloadavg()[0]:.1f}")
    signatures()
    sink.terminate()


if __name__ == "__main__":
    main()
