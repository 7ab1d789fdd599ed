"""Push services that others wrote, and those of the conformance cases."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conftest import PEERS_DIR, find_free_port, require_peer


class WebPushService:
    """npm `web-push-testing`, which decrypts what it takes."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def subscribe(self, public_key: str) -> dict[str, Any]:
        """A subscription (`endpoint`, `keys`), made for this application server; `clientHash` names it."""
        found: dict[str, Any] = self._post("/subscribe", {"applicationServerKey": public_key})["data"]
        found["endpoint"] = found["endpoint"].replace("//localhost:", "//127.0.0.1:")
        return found

    def expire(self, client: str) -> None:
        """The person unsubscribes."""
        self._post(f"/expire-subscription/{client}", {})

    def messages(self, client: str) -> list[dict[str, Any]]:
        """What this browser got."""
        found = self._post("/get-notifications", {"clientHash": client})["data"]["messages"]
        return [json.loads(text) for text in found]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            raw = reply.read()
        return json.loads(raw) if raw.startswith(b"{") else None


@contextmanager
def web_push_testing() -> Iterator[WebPushService]:
    """The service on a port of its own."""
    require_peer("node")
    if not (PEERS_DIR / "node_modules" / "web-push-testing" / "package.json").is_file():
        require_peer("web-push-testing (run `make peers`)")
    port = find_free_port()
    process = subprocess.Popen(
        ["node", "webpush.js", str(port)], cwd=PEERS_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while (line := process.stdout.readline()) != b"ready\n":
            assert line, "web-push-testing did not start"
        yield WebPushService(port)
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
