"""`python -m tidings.smppd`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidings.domain import smpp_login
from tidings.kit.ids import new_id
from tidings.kit.secrets import KeyRing
from tidings.smppd.__main__ import main


def test_a_login_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring, key = KeyRing.load(tmp_path / "keys.json"), new_id("key")
    assert main([key, "--data", str(tmp_path)]) == 0
    said = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert said == {"system_id": smpp_login.system_id(key), "password": smpp_login.password(ring, key)}


@pytest.mark.parametrize("key", ["key_1", "msg_" + "0" * 32, "key_" + "0" * 32])
def test_what_cannot_be_told(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No id of a key; and a folder without a key ring, in which none may be made."""
    with pytest.raises(SystemExit) as caught:
        main([key, "--data", str(tmp_path)])
    assert caught.value.code == 2
    assert not list(tmp_path.iterdir())
    assert "key" in capsys.readouterr().err
