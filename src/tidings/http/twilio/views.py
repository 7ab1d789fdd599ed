"""Twilio's Message and Account resources, and pages of messages."""

import datetime as dt
from email.utils import format_datetime
from typing import Any

from tidings.domain.twilio import STATUS, account_sid, error_code_of, error_text, message_sid
from tidings.domain.view import StoredMessage
from tidings.store.lists import StoredInbound

API_VERSION = "2010-04-01"


def rfc2822(ms: int | None) -> str | None:
    """`Tue, 24 Nov 2026 10:00:00 +0000`; None stays None."""
    return None if ms is None else format_datetime(dt.datetime.fromtimestamp(ms // 1000, dt.UTC))


def account_uri(project: str) -> str:
    """The path of the account, without `.json`."""
    return f"/{API_VERSION}/Accounts/{account_sid(project)}"


def _resource(project: str, id: str) -> dict[str, Any]:
    uri = f"{account_uri(project)}/Messages/{message_sid(id)}"
    return {
        "sid": message_sid(id), "account_sid": account_sid(project), "messaging_service_sid": None, "num_media": "0",
        "price": None, "price_unit": None, "api_version": API_VERSION, "uri": f"{uri}.json",
        "subresource_uris": {},
    }  # fmt: skip


def sent_view(stored: StoredMessage) -> dict[str, Any]:
    """A message that we sent."""
    message, personal = stored.message, stored.message.personal
    code = error_code_of(message.status, stored.error)
    last = max(at for at in (message.created_ms, stored.sent_ms, stored.ended_ms) if at is not None)
    return {
        **_resource(message.project, message.id),
        "body": personal.text, "to": personal.to or None, "from": personal.sender, "direction": "outbound-api",
        "status": STATUS[message.status], "num_segments": str(stored.parts or 1),
        "error_code": code, "error_message": error_text(code, stored.error),
        "date_created": rfc2822(message.created_ms), "date_updated": rfc2822(last), "date_sent": rfc2822(stored.sent_ms),
    }  # fmt: skip


def received_view(project: str, item: StoredInbound) -> dict[str, Any]:
    """A message that a person sent to us."""
    at = rfc2822(item.received_ms)
    return {
        **_resource(project, item.id),
        "body": item.text, "to": item.to or None, "from": item.sender, "direction": "inbound", "status": "received",
        "num_segments": str(item.parts), "error_code": None, "error_message": None, "date_created": at,
        "date_updated": at, "date_sent": at,
    }  # fmt: skip


def account_view(project: str, token: str) -> dict[str, Any]:
    """The account, with the token that signs its callbacks."""
    uri = account_uri(project)
    return {
        "sid": account_sid(project), "owner_account_sid": account_sid(project), "friendly_name": project,
        "auth_token": token, "status": "active", "type": "Full", "date_created": None, "date_updated": None,
        "uri": f"{uri}.json", "subresource_uris": {"messages": f"{uri}/Messages.json"},
    }  # fmt: skip
