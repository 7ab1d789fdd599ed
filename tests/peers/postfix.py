"""A Postfix of one's own on loopback, from a private folder: takes mail, relays it by a table, bounces what the table says."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from conftest import find_free_port, require_peer, unmet

MASTER = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


def _main(folder: Path, routes: dict[str, str]) -> str:
    table = " ".join(f"{{ {domain} = {to} }}" for domain, to in routes.items())
    return f"""\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = /tmp, {folder}
mail_owner = postfix
myhostname = mx.postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtp_host_lookup = native
transport_maps = inline:{{ {table} }}
local_recipient_maps =
alias_maps =
alias_database =
relay_domains =
smtputf8_enable = yes
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
notify_classes =
message_size_limit = 1000000
"""


@asynccontextmanager
async def postfix(routes: dict[str, str]) -> AsyncIterator[int]:
    """Its port. `routes`: domain → transport, for example `smtp:[127.0.0.1]:2525` or `error:5.1.1 no such user`."""
    require_peer("postfix")
    if os.geteuid() != 0:
        unmet("peer postfix: its master process can be started by root only")
    folder = Path(tempfile.mkdtemp(prefix="tidings-postfix-", dir="/tmp"))  # short: names of sockets are bounded
    try:
        folder.chmod(0o755)
        config, port = folder / "etc", find_free_port()
        for name in (config, folder / "queue", folder / "data"):
            name.mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
        (config / "main.cf").write_text(_main(folder, routes))
        (config / "master.cf").write_text(MASTER.format(port=port))
        await _run("postfix", "-c", str(config), "start")
        try:
            yield port
        finally:
            await _run("postfix", "-c", str(config), "stop")
            print(
                (folder / "maillog").read_text() if (folder / "maillog").exists() else "no maillog"
            )  # shown on failure
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _run(*command: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, timeout=60, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).decode()[-2_000:]}")
