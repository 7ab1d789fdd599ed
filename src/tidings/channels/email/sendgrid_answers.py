"""What SendGrid's answer to Mail Send means. Source: Twilio SendGrid "Mail Send API v3", errors and rate limits"""

from typing import Any, Final, cast

from tidings.channels.email.over_http import carrier_error, text
from tidings.channels.http.call import Blocked, Doubtful, Judged, Throttled
from tidings.channels.http.json import json_of
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.kit.outbound import Reply

SPEC: Final = "SendGrid Mail Send v3"
_LONGEST_S: Final = 3_600.0


def judge(reply: Reply) -> Judged:
    """The answer to one mail."""
    if 200 <= reply.status < 300:  # taken, even if it does not say as what: another try would be a second mail
        return PartSent(reply.headers.get("x-message-id", "")[:256])
    if reply.status == 429:
        return Throttled(_after_s(reply))
    if reply.status >= 500 or reply.status == 408:
        return Doubtful(f"http_{reply.status}")
    field, said = _first(reply.body)
    theirs = f"http:{reply.status}" + (f":{field}" if field else "")
    if reply.status == 401 or (reply.status == 403 and field != "from"):
        return Blocked(
            carrier_error("bad_credentials", "SendGrid refuses the API key.", theirs, SPEC, final=False, said=said)
        )
    if reply.status == 413:
        return PartRefused(carrier_error("message_too_large", "The mail is too large.", theirs, SPEC, final=True))
    if 300 <= reply.status < 400 or reply.status == 404:
        return Blocked(carrier_error("bad_endpoint", "There is no Mail Send at `base_url`.", theirs, SPEC, final=False))
    if "credits" in said.lower():  # "Maximum credits exceeded": the plan's mails are used up
        return PartRetry(
            carrier_error("quota", "The plan's mails are used up.", theirs, SPEC, final=False, said=said), _LONGEST_S
        )
    code = "invalid_recipient" if ".to" in field else "invalid_sender" if field.startswith("from") else "refused"
    return PartRefused(carrier_error(code, "SendGrid refuses the mail.", theirs, SPEC, final=True, said=said))


def _first(body: bytes) -> tuple[str, str]:
    """Field and words of the first error."""
    found = json_of(body)
    errors: Any = cast("dict[str, Any]", found).get("errors") if isinstance(found, dict) else None
    first: Any = cast("list[Any]", errors)[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    fields = cast("dict[str, Any]", first)
    return text(fields, "field")[:64], text(fields, "message")


def _after_s(reply: Reply) -> float | None:
    """`Retry-After`, an hour at most."""
    given = reply.headers.get("retry-after", "").strip()
    return min(float(given), _LONGEST_S) if given.isascii() and given.isdigit() and len(given) <= 9 else None
