"""Verifications over real carriers' protocols: a code that goes on to the next channel, and is read there."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import Api, start_server, stop_server
from tidings.sandbox.email import SandboxEmail
from tidings.sandbox.sms import SandboxSmsc

PERSON = {"phone": "+15005550002", "email": "ada@sandbox.test"}  # a number that nothing is delivered to


def provider(name: str, kind: str, config: dict[str, Any]) -> str:
    """A table of `tidings.toml`: its strings, numbers and arrays are written as JSON's."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"name": name, "type": kind, **config}.items()]
    return "\n".join(["[[providers]]", *lines, ""])


async def test_a_code_that_does_not_arrive_by_sms_comes_by_email(tmp_path: Path) -> None:
    """The carrier says undeliverable; the same code lies in a mail that a real SMTP server took."""
    smsc, mails = SandboxSmsc(receipt_delay_s=0.01), SandboxEmail()
    await smsc.start()
    await mails.start()
    sms = {"host": "127.0.0.1", "port": smsc.port, "system_id": "sandbox", "password": "sandbox"}
    settings = provider("carrier", "sms.smpp", sms) + provider("mail", "email.smtp", mails.config)
    key = f"tk_live_{secrets.token_hex(24)}"
    process, url = await asyncio.to_thread(start_server, tmp_path / "data", key, settings)
    api = Api(url=url, key=key)
    try:
        body = {
            "to": PERSON,
            "channels": ["sms", "email"],
            "brand": "ACME",
            "locale": "fr",
            "domain": "shop.example.com",
        }
        begun = (await asyncio.to_thread(api.call, "POST", "/v1/verifications", body)).json
        async with asyncio.timeout(30):
            while not mails.mails:
                await asyncio.sleep(0.02)
        by_sms = smsc.messages[0].text
        mail = email.message_from_bytes(mails.mails[0].raw, policy=email.policy.default)
        code = re.search(r"\d{6}", by_sms)
        assert code is not None
        assert by_sms == f"ACME: {code[0]} est votre code. Ne le partagez pas.\n\n@shop.example.com #{code[0]}"
        assert mail["subject"] == f"ACME: {code[0]} est votre code"
        assert mail.get_content().strip() == f"ACME: {code[0]} est votre code. Ne le partagez pas."
        path = f"/v1/verifications/{begun['id']}"
        checked = (await asyncio.to_thread(api.call, "POST", f"{path}/check", {"code": code[0]})).json
        assert checked["valid"] is True
        found = (await asyncio.to_thread(api.call, "GET", path)).json
        assert (found["channel"], found["status"], found["country"]) == ("email", "approved", "US")
        told = (await asyncio.to_thread(api.call, "GET", "/v1/verifications/stats")).json["data"]
        assert [(row["channel"], row["approved"]) for row in told] == [("email", 1)]
    finally:
        await asyncio.to_thread(stop_server, process)
        await smsc.stop()
        await mails.stop()


@pytest.mark.parametrize(
    ("number", "fields", "channel"),
    [
        # the person has never written, so that WhatsApp takes templates only
        ("+15005550010", {}, "sms"),
        ("+15005550010", {"whatsapp_template": "verification_code"}, "whatsapp"),
        ("+15005550010", {"whatsapp_template": "no_such_template"}, "sms"),
        ("+15005550001", {}, "whatsapp"),
    ],
)
def test_whatsapp_first(server: Api, number: str, fields: dict[str, Any], channel: str) -> None:
    body = {"to": {"phone": number}, "channels": ["whatsapp", "sms"], **fields}
    begun = server.call("POST", "/v1/verifications", body)
    assert begun.status == 201, begun.body
    id = begun.json["id"]
    (message,) = server.call("GET", f"/v1/messages?reference={id}").json["data"]
    found = server.wait_for(message["id"], "delivered", "undelivered", "failed")
    assert (found["status"], found["channel"]) == ("delivered", channel), found
    code = server.call("GET", f"/v1/verifications/{id}/code").json["code"]
    assert code not in json.dumps(found)
    assert server.call("POST", f"/v1/verifications/{id}/check", {"code": code}).json["valid"] is True


def test_by_email_alone(server: Api) -> None:
    body = {"to": "delivered@sandbox.test", "brand": "ACME", "reference": "mail-only"}
    begun = server.call("POST", "/v1/verifications", body).json
    assert (begun["channel"], begun["country"], begun["to"]) == ("email", None, "delivered@sandbox.test")
    (message,) = server.call("GET", f"/v1/messages?reference={begun['id']}").json["data"]
    found = server.wait_for(message["id"], "delivered", "sent", "failed")
    code = server.call("GET", f"/v1/verifications/{begun['id']}/code").json["code"]
    assert code not in json.dumps(found)
    assert "{{ code }}" in found["content"]["subject"]
