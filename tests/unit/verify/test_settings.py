"""`[verify]`: what a code is worth, and how long an ended verification is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings import settings
from tidings.domain.errors import SettingsError
from tidings.kit.limits import VERIFY_KEEP_DEFAULT_DAYS, VERIFY_STATS_S


def load(folder: Path, text: str) -> settings.VerifySettings:
    file = folder / "tidings.toml"
    file.write_text(text)
    return settings.load(file).verify


def test_without_it_all_is_as_documented(tmp_path: Path) -> None:
    assert load(tmp_path, "") == settings.VerifySettings(
        code_length=6, valid_for_s=600, max_attempts=5, keep_days=VERIFY_KEEP_DEFAULT_DAYS
    )
    assert VERIFY_KEEP_DEFAULT_DAYS * 86_400 >= VERIFY_STATS_S, "statistics count what is kept"


def test_all_of_it(tmp_path: Path) -> None:
    text = "[verify]\ncode_length = 8\nvalid_for_s = 300\nmax_attempts = 3\nkeep_days = 7\n"
    assert load(tmp_path, text) == settings.VerifySettings(
        code_length=8, valid_for_s=300, max_attempts=3, keep_days=7
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("code_length = 3", "verify.code_length must be 4 to 10"),
        ("valid_for_s = 3601", "verify.valid_for_s must be 30 to 3600"),
        ("max_attempts = 0", "verify.max_attempts must be 1 to 10"),
        ("keep_days = 1", "verify.keep_days must be 2 to 3650"),
        ("keep_days = 3651", "verify.keep_days must be 2 to 3650"),
        ('code_length = "6"', "verify.code_length"),
        ("digits = 6", "digits"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        load(tmp_path, f"[verify]\n{text}\n")
