"""The parameters of Twilio's requests: which mean something here, and which are refused by name.

`docs/how-to/move-from-twilio.md` shows `CREATE` as a table; a test holds the two together.
"""

import datetime as dt
from typing import Any, Final
from urllib.parse import parse_qsl

from tidings.domain.errors import FieldError
from tidings.domain.phone import phone_problem
from tidings.domain.request import SendRequest, check
from tidings.domain.twilio import service_sid
from tidings.http.twilio.errors import TwilioError, of_fields, unsupported
from tidings.kit.outbound import Guard
from tidings.webhooks.twilio_callbacks import url_problem

BODY_CHARS: Final = 1_600
VALIDITY_S: Final = 36_000
_FIELDS: Final = 100
#: What a create takes. All else of Twilio's is refused by name.
CREATE: Final = frozenset({
    "To", "From", "Body", "StatusCallback", "ValidityPeriod", "ScheduleType", "SendAt", "MessagingServiceSid",
})  # fmt: skip
UPDATE: Final = frozenset({"Status"})
LIST: Final = frozenset({"To", "From", "DateSent", "DateSent<", "DateSent>", "PageSize", "Page", "PageToken"})


def read_form(body: bytes, media: str | None) -> dict[str, str]:
    """The fields of a form, each once. Raises TwilioError."""
    if body and (media or "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise TwilioError(20001, "Send the parameters as application/x-www-form-urlencoded", 415)
    try:
        return _once(parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS
        ))  # fmt: skip
    except (UnicodeDecodeError, ValueError) as error:
        raise TwilioError(20001, "The body is not a form in UTF-8") from error


def read_query(query: bytes) -> dict[str, str]:
    """The parameters of the list, each once. `DateSent>=…` reads as Twilio's `DateSent>`."""
    try:
        return _once(parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS))
    except (UnicodeDecodeError, ValueError) as error:
        raise TwilioError(20001, "The query is not in UTF-8") from error


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise unsupported(name, "may be given once")
        found[name] = value
    return found


def only(given: dict[str, str], taken: frozenset[str]) -> None:
    """Refuses by name the first parameter that is not taken: one that is ignored would be a lie."""
    for name in given:
        if name not in taken:
            raise unsupported(name)


def send_request(given: dict[str, str], project: str, guard: Guard, now_ms: int) -> SendRequest:
    """Our own request for what was asked. Raises TwilioError."""
    only(given, CREATE)
    _required(given, project)
    callback = given.get("StatusCallback")
    if callback:
        problem = url_problem(callback, guard)
        if problem is not None:
            raise TwilioError(21609, f"The 'StatusCallback' URL {problem}")
    metadata: dict[str, Any] = {"twilio": {"status_callback": callback}} if callback else {}
    request = SendRequest(
        to=given["To"], channel="sms", sender=given.get("From") or None, text=given["Body"], metadata=metadata,
        valid_for_s=_validity(given.get("ValidityPeriod")), send_at=_send_at(given, now_ms),
    )  # fmt: skip
    errors: list[FieldError] = check(request, now_ms)
    if errors:
        raise of_fields(errors)
    return request


def _required(given: dict[str, str], project: str) -> None:
    if not given.get("To"):
        raise TwilioError(21604, "A 'To' phone number is required.")
    problem = phone_problem(given["To"])
    if problem is not None:
        raise TwilioError(21211, f"Invalid 'To' Phone Number: it {problem}")
    service = given.get("MessagingServiceSid")
    if service and service != service_sid(project):
        raise TwilioError(
            21701, f"The Messaging Service {service} does not exist; this account's is {service_sid(project)}"
        )
    if not given.get("From") and not service:
        raise TwilioError(21603, "A 'From' phone number is required.")
    if not given.get("Body"):
        raise TwilioError(21602, "Message body is required.")
    if len(given["Body"]) > BODY_CHARS:
        raise TwilioError(21617, f"The concatenated message body exceeds the {BODY_CHARS} character limit")


def _validity(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= VALIDITY_S):
        raise unsupported("ValidityPeriod", f"must be 1 to {VALIDITY_S} seconds")
    return int(text)


def _send_at(given: dict[str, str], now_ms: int) -> dt.datetime | None:
    kind, text = given.get("ScheduleType"), given.get("SendAt")
    if kind is None and text is None:
        return None
    if kind != "fixed":
        raise unsupported("ScheduleType", "must be 'fixed', and goes with SendAt")
    at = read_time("SendAt", text or "")
    if at.timestamp() * 1000 <= now_ms:
        raise unsupported("SendAt", "must be in the future")
    return at


def read_time(name: str, text: str) -> dt.datetime:
    """An ISO 8601 time with its zone; without one it is UTC, as at Twilio."""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise unsupported(name, "must be an ISO 8601 time such as 2026-11-24T10:00:00Z") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
