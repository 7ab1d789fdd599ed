"""Every configuration error names its key."""

from typing import Any

import pytest

from tidings.channels.sms.smpp_config import Tls, read_config
from tidings.domain.errors import SettingsError

GOOD: dict[str, Any] = {"host": "127.0.0.1", "system_id": "tidings"}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"windw": 5}, "windw"),
        ({"window": "5"}, "window"),
        ({"window": 0}, "window"),
        ({"port": 70000}, "port"),
        ({"rate_per_s": -1}, "rate_per_s"),
        ({"system_id": "x" * 16}, "system_id"),
        ({"password": "x" * 9}, "password"),
        ({"password": "pä"}, "password"),
        ({"service_type": "toolong"}, "service_type"),
        ({"binds": {"transponder": 1}}, "binds"),
        ({"binds": {"receiver": 1}}, "binds"),
        ({"binds": {"transceiver": 100}}, "binds"),
        ({"concat": "udh32"}, "concat"),
        ({"default_alphabet": "ebcdic"}, "default_alphabet"),
        ({"validity": True}, "validity"),
        ({"tls": {"verfy": False}}, "verfy"),
        ({"reconnect_min_s": 20, "reconnect_max_s": 10}, "reconnect_max_s"),
        ({"source_ton": 9}, "source_ton"),
    ],
)
def test_errors_name_the_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=key) as caught:
        read_config("acme", GOOD | change)
    assert "acme" in str(caught.value)


@pytest.mark.parametrize("missing", ["host", "system_id"])
def test_missing_keys_are_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        read_config("acme", {key: value for key, value in GOOD.items() if key != missing})


def test_a_password_is_never_quoted() -> None:
    with pytest.raises(SettingsError) as caught:
        read_config("acme", GOOD | {"password": "hunter2-hunter2"})
    assert "hunter2" not in str(caught.value)


def test_defaults() -> None:
    config = read_config("acme", GOOD)
    assert (config.port, config.window, config.binds, config.transmitting_binds) == (2775, 50, {"transceiver": 1}, 1)
    assert config.ssl_context() is None
    assert config.server_name is None


def test_tls() -> None:
    config = read_config("acme", GOOD | {"tls": {"verify": False, "server_name": "smsc.test"}})
    context = config.ssl_context()
    assert isinstance(config.tls, Tls)
    assert context is not None
    assert not context.check_hostname
    assert config.server_name == "smsc.test"
