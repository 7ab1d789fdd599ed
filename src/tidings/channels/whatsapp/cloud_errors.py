"""What Meta's answers mean for the message: taken, refused, try again, slow down, or the account itself is wrong.

Source: WhatsApp Cloud API "Error codes"; Graph API "Rate limiting"; v23.0, schema `ErrorResponse`
"""

import re
from typing import Any, Final, Literal, cast

import msgspec

from tidings.channels.http.call import Blocked, Doubtful, Judged, Throttled
from tidings.channels.http.json import json_of
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.domain.message import MessageError
from tidings.kit.outbound import Reply

SPEC: Final = "WhatsApp Cloud API, error codes"
#: permanent: never again. retry: this message later, others now. throttle: all wait. account: nothing goes at all.
Meaning = Literal["permanent", "retry", "throttle", "account"]


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What a code means here, our stable code, and what a person should know. `after_s`: how long a retry waits."""

    meaning: Meaning
    code: str
    detail: str
    after_s: float | None = None
    suppress: str | None = None


_LONG: Final = re.compile(r"\+?[0-9][0-9 ()-]{4,}")
OUTSIDE_WINDOW: Final = "outside_window"
TABLE: Final[dict[int, Row]] = {
    0: Row("account", "bad_credentials", "Meta cannot authenticate the access token."),
    3: Row("account", "access_denied", "The app may not use this part of the API."),
    10: Row("account", "access_denied", "The access token lacks `whatsapp_business_messaging`."),
    190: Row("account", "bad_credentials", "The access token has expired or was revoked."),
    200: Row("account", "access_denied", "The access token may not send for this number."),
    33: Row("account", "not_found", "Meta knows no such number; see `phone_number_id`."),
    368: Row("account", "account_blocked", "The business account is restricted for a violation of policy."),
    131031: Row("account", "account_blocked", "The business account is locked."),
    131042: Row("account", "payment_required", "The business account has no valid means of payment."),
    131045: Row("account", "number_not_registered", "The number's registration failed; register it again."),
    131064: Row("account", "account_blocked", "Meta restricts the business account."),
    133010: Row("account", "number_not_registered", "The number is not registered for the Cloud API."),
    134101: Row("retry", "syncing", "Meta still prepares the number.", 60),
    1: Row("retry", "carrier_error", "Meta reports an error of its own, or a request that it does not know."),
    2: Row("retry", "carrier_error", "Meta is down or overloaded for the moment."),
    131000: Row("retry", "carrier_error", "Something went wrong at Meta."),
    131016: Row("retry", "carrier_error", "Meta's service is not available for the moment."),
    131057: Row("retry", "maintenance", "The number is being upgraded at Meta.", 60),
    133004: Row("retry", "carrier_error", "Meta's server is not available for the moment."),
    4: Row("throttle", "throttled", "The app has made too many calls."),
    80007: Row("throttle", "throttled", "The business account has reached its rate limit."),
    130429: Row("throttle", "throttled", "The number has reached its throughput."),
    131048: Row("retry", "spam_limited", "Too many people blocked or reported this number: Meta limits it.", 3_600),
    131056: Row("retry", "pair_limited", "Too many messages from this number to this person in a short time.", 6),
    131049: Row("permanent", "engagement_limited", "Meta does not deliver it: the person gets enough marketing messages."),
    131050: Row("permanent", "unsubscribed", "The person does not want marketing messages of this business.", None, "unsubscribed"),
    130472: Row("permanent", "experiment", "Meta does not deliver it: the person's number is part of an experiment."),
    100: Row("permanent", "invalid_request", "Meta finds a parameter that it does not know, or cannot take."),
    130497: Row("permanent", "country_restricted", "The business may not write to people in this country."),
    131005: Row("permanent", "access_denied", "The access token may not do this."),
    131008: Row("permanent", "invalid_request", "Meta misses a parameter."),
    131009: Row("permanent", "invalid_request", "Meta cannot take the value of a parameter."),
    131021: Row("permanent", "invalid_recipient", "A number cannot write to itself."),
    131026: Row("permanent", "undeliverable", "The person is not on WhatsApp, has an old version, or has not accepted its terms."),
    131030: Row("permanent", "recipient_not_allowed", "A test number only writes to numbers on its list."),
    131037: Row("permanent", "display_name_missing", "The number has no approved display name."),
    131041: Row("permanent", "business_unverified", "The business has to be verified for this."),
    131043: Row("permanent", "expired", "Meta could not deliver the message in time."),
    131047: Row("permanent", OUTSIDE_WINDOW, "The person has not written within 24 hours: only a template may be sent."),
    131051: Row("permanent", "unsupported_content", "Meta does not know this kind of message."),
    131052: Row("permanent", "media_unreadable", "Meta cannot fetch the file."),
    131053: Row("permanent", "media_unreadable", "Meta cannot take the file: its kind, size or content."),
    131059: Row("permanent", "unsupported_content", "The person's WhatsApp cannot show this kind of message."),
    131060: Row("permanent", "undeliverable", "The message is not available any more."),
    131063: Row("permanent", "unsupported_content", "This template may not be sent over this interface."),
    132000: Row("permanent", "template_parameters", "The template has another number of places than parameters were given."),
    132001: Row("permanent", "template_not_found", "There is no approved template of this name and language."),
    132005: Row("permanent", "template_too_long", "The template with its parameters is too long."),
    132007: Row("permanent", "template_policy", "The template's content violates WhatsApp's policy."),
    132008: Row("permanent", "template_parameters", "A parameter does not fit its place in the template."),
    132012: Row("permanent", "template_parameters", "A parameter has another form than its place in the template."),
    132015: Row("permanent", "template_paused", "The template is paused for its low quality."),
    132016: Row("permanent", "template_disabled", "The template was paused too often and is disabled for good."),
    132018: Row("permanent", "template_parameters", "The parameters do not fit the template."),
    132068: Row("permanent", "flow_blocked", "The flow is blocked."),
    132069: Row("permanent", "flow_throttled", "The flow is throttled: ten messages an hour were sent."),
    135000: Row("permanent", "invalid_request", "Meta cannot take a parameter of the message."),
}  # fmt: skip


def judge(reply: Reply) -> Judged:
    """What came of a POST to `/{phone_number_id}/messages`."""
    fields = _object(json_of(reply.body))
    if 200 <= reply.status < 300:
        return PartSent(_message_id(fields))
    error = _object(fields.get("error"))
    code = _number(error.get("code"))
    row = TABLE.get(code) if code is not None else None
    if row is None and (reply.status >= 500 or reply.status == 408):
        return Doubtful(f"http_{reply.status}")
    if row is None:
        row = _by_status(reply.status, code)
    after_s = retry_after_s(reply)
    if row.meaning == "throttle":
        return Throttled(after_s)
    made = _error(row, code, _details(error), reply.status)
    if row.meaning == "permanent":
        return PartRefused(made, suppress=row.suppress)
    if row.meaning == "account":
        return Blocked(made)
    return PartRetry(made, after_s if after_s is not None else row.after_s)


def retry_after_s(reply: Reply) -> float | None:
    """`Retry-After` in seconds, an hour at most; a date is passed over. Source: RFC 9110 §10.2.3"""
    text = reply.headers.get("retry-after", "").strip()
    return min(float(text), 3_600.0) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def error_of(code: int | None, details: str | None) -> MessageError:
    """Why a message that Meta took was not delivered."""
    row = TABLE.get(code) if code is not None else None
    made = row or Row("permanent", "undeliverable", "Meta could not deliver the message.")
    found = _error(made, code, _details({"error_data": {"details": details}}), 0)
    return msgspec.structs.replace(found, permanent=True, retryable=False)


def suppression(code: int | None) -> str | None:
    """Why a person must not be written to again, if the code says so."""
    row = TABLE.get(code) if code is not None else None
    return row.suppress if row is not None else None


def _message_id(fields: dict[str, Any]) -> str:
    """Taken, even if the answer does not say as what: another try would be a second message."""
    messages = fields.get("messages")
    first = _object(cast("list[object]", messages)[0]) if isinstance(messages, list) and messages else {}
    found = first.get("id")
    return found if isinstance(found, str) and len(found) <= 256 else ""


def _by_status(status: int, code: int | None) -> Row:
    if code is not None and 200 <= code <= 299:  # permissions, whichever
        return TABLE[200]
    if status in (401, 403):
        return TABLE[190]
    if status == 429:
        return TABLE[130429]
    if status == 404 or 300 <= status < 400:
        return TABLE[33]
    return Row("permanent", "refused", f"Meta refuses the message (HTTP {status}).")


def _error(row: Row, code: int | None, details: str, status: int) -> MessageError:
    theirs = str(code) if code is not None else f"HTTP {status}" if status else None
    final = row.meaning == "permanent"
    detail = f"{row.detail} {details}".rstrip()
    return MessageError(
        code=row.code, detail=detail, permanent=final, retryable=not final, provider_code=theirs, spec=SPEC
    )


def _details(error: dict[str, Any]) -> str:
    """What Meta adds for a developer, without anything that may be a number: errors are kept where addresses are not."""
    found = _object(error.get("error_data")).get("details")
    return f"Meta: {_LONG.sub('…', found[:300])}" if isinstance(found, str) and found else ""


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
