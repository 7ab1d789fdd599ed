"""Lists stay cheap: a filter that matches little gives short pages, and going on finds everything."""

from pathlib import Path

import pytest

from http_inside import inside
from tidings.store.sqlite import queries


@pytest.mark.parametrize("path", ["/v1/messages?tag=rare", "/v1/events?types=message.scheduled"])
async def test_short_pages_find_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(queries, "LIST_SCAN_ROWS", 4)
    async with inside(tmp_path) as running:
        wanted: list[str] = []
        for n in range(30):
            body = {"to": "+15005550004", "text": "x", "send_at": "2027-03-01T00:00:00Z", "tags": ["common"]}
            if n % 10 == 0:
                body["tags"] = ["rare"]
            elif "events" in path:
                del body["send_at"]
            sent = (await running.call("POST", "/v1/messages", body, key=running.test_key)).json["id"]
            if n % 10 == 0:
                wanted.append(sent)
        seen: list[str] = []
        pages, cursor = 0, ""
        while True:
            page = (await running.call("GET", f"{path}&limit=2{cursor}", key=running.test_key)).json
            seen += [item.get("message_id") or item["id"] for item in page["data"]]
            pages += 1
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == wanted[::-1]
        assert pages >= 7  # each looked at no more than four rows
