"""The page of `whatsapp.cloud_api` says what the code does: keys, defaults and the table of errors."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from tidings.channels.whatsapp.cloud_config import Config
from tidings.channels.whatsapp.cloud_errors import TABLE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "providers" / "whatsapp-cloud-api.md").read_text()
BECOMES = {"account": "the provider stops", "retry": "tried again", "throttle": "waited for", "permanent": "failed"}


def test_the_table_of_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| ([^|]+) \| (.+) \|$", PAGE, re.M)
    assert {int(code): (word, detail) for code, word, _, detail in rows} == {
        code: (row.code, row.detail) for code, row in TABLE.items()
    }
    for code, _, becomes, _ in rows:
        row = TABLE[int(code)]
        assert becomes.startswith(BECOMES[row.meaning])
        assert re.findall(r"after (\d+) s", becomes) == ([] if row.after_s is None else [f"{row.after_s:g}"])
        assert ("suppressed" in becomes) == (row.suppress is not None)


def test_every_key_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.split("```toml")[0]))
    assert set(Config.__struct_fields__) <= named
    for field in msgspec.structs.fields(Config):
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert f"{field.default:g}" in PAGE, field.name
