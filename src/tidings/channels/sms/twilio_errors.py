"""What Twilio's answers mean for the message: taken, refused, try again, slow down, or the account itself is wrong.

Source: Twilio REST API "Error and Warning Dictionary"; Message resource; "Response codes of the REST API".
"""

from typing import Any, Final, Literal, cast

from tidings.channels.http.call import Blocked, Doubtful, Judged, Throttled
from tidings.channels.http.json import json_of
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.domain.message import MessageError
from tidings.kit.outbound import Reply

SPEC: Final = "Twilio error dictionary"
Meaning = Literal["permanent", "retry", "throttle", "account"]
_Row = tuple[Meaning, str, str]

#: Twilio's code → what it means here, our stable code, and what a person should know.
TABLE: Final[dict[int, _Row]] = {
    10001: ("account", "account_inactive", "The Twilio account is not active."),
    20003: ("account", "bad_credentials", "Twilio refuses the account SID, API key or token."),
    20005: ("account", "account_inactive", "The Twilio account is not active."),
    20006: ("account", "access_denied", "The credentials may not send messages."),
    20008: ("account", "test_credentials", "These are test credentials; this resource does not take them."),
    20404: ("account", "not_found", "Twilio knows no such account; see `account_sid` and `base_url`."),
    20429: ("throttle", "throttled", "Twilio says we send too fast."),
    14107: ("throttle", "throttled", "Twilio's send rate limit is exceeded."),
    21211: ("permanent", "invalid_recipient", "Twilio says the number is not valid."),
    21212: ("permanent", "invalid_sender", "Twilio says the sender is not valid."),
    21214: ("permanent", "invalid_recipient", "The number cannot be reached."),
    21217: ("permanent", "invalid_recipient", "The number does not appear to be valid."),
    21219: ("permanent", "recipient_not_verified", "A trial account writes to verified numbers only."),
    21265: ("permanent", "invalid_recipient", "The recipient is a short code."),
    21408: ("permanent", "region_not_enabled", "Sending to this region is not enabled (Messaging Geographic Permissions)."),
    21601: ("permanent", "invalid_sender", "The sender cannot send SMS."),
    21602: ("permanent", "empty_content", "The message has no body."),
    21603: ("permanent", "invalid_sender", "The message has no sender: say `from`, or set `sender`."),
    21604: ("permanent", "invalid_recipient", "The message has no recipient."),
    21605: ("permanent", "message_too_long", "The text is too long."),
    21606: ("permanent", "invalid_sender", "The sender is not a number of this account, or cannot send SMS there."),
    21607: ("permanent", "invalid_sender", "The sender is not verified for a trial account."),
    21608: ("permanent", "recipient_not_verified", "A trial account writes to verified numbers only."),
    21609: ("permanent", "invalid_callback", "Twilio refuses the callback URL; see `public_url`."),
    21610: ("permanent", "unsubscribed", "The person has sent STOP to this sender."),
    21611: ("retry", "queue_full", "The sender's queue at Twilio is full."),
    21612: ("permanent", "unreachable", "The number cannot be reached by SMS from this sender."),
    21614: ("permanent", "not_mobile", "The number is no mobile number."),
    21617: ("permanent", "message_too_long", "The text has more than 1,600 characters."),
    21619: ("permanent", "empty_content", "The message has no text or media."),
    21635: ("permanent", "not_mobile", "The number is a landline."),
    21656: ("permanent", "invalid_content", "The content variables are invalid."),
    21659: ("permanent", "invalid_sender", "The sender is no Twilio number or short code of this country."),
    21660: ("permanent", "invalid_sender", "The sender belongs to another account."),
    21661: ("permanent", "invalid_sender", "The sender cannot send SMS."),
    21703: ("permanent", "invalid_sender", "The messaging service has no numbers."),
    21704: ("permanent", "invalid_sender", "The messaging service has no sender for this recipient."),
    21705: ("permanent", "invalid_sender", "The messaging service SID is not valid."),
    21710: ("permanent", "invalid_sender", "The sender is not part of the messaging service."),
    21712: ("permanent", "invalid_sender", "The sender is not part of the messaging service."),
    30001: ("retry", "queue_full", "Twilio's queue overflowed."),
    30002: ("account", "account_suspended", "The Twilio account is suspended."),
    30003: ("permanent", "unreachable", "The handset cannot be reached."),
    30004: ("permanent", "blocked", "The recipient blocks this message."),
    30005: ("permanent", "unknown_subscriber", "The number is unknown or out of service."),
    30006: ("permanent", "not_mobile", "The number is a landline, or its carrier cannot be reached."),
    30007: ("permanent", "filtered", "Twilio or the carrier filtered the message."),
    30008: ("permanent", "unknown_error", "Twilio gives no reason."),
    30010: ("permanent", "price_exceeded", "The message costs more than allowed."),
    30022: ("retry", "throttled", "The daily or per-minute limit of the US campaign is used up."),
    30032: ("permanent", "sender_not_verified", "The toll-free number is not verified."),
    30034: ("permanent", "sender_not_registered", "The US number belongs to no registered campaign."),
    30036: ("permanent", "expired", "The validity period passed before the message left."),
    63001: ("account", "channel_refused", "The channel refuses Twilio's credentials for this sender."),
    63002: ("permanent", "invalid_sender", "The channel does not know the sender."),
    63003: ("permanent", "invalid_recipient", "The channel does not know the recipient."),
    63005: ("permanent", "unsupported_content", "The channel does not take this content."),
    63007: ("permanent", "invalid_sender", "The sender is not set up for this channel."),
    63008: ("permanent", "invalid_sender", "The sender is not set up rightly for this channel."),
    63009: ("retry", "channel_error", "The channel reports an error of its own."),
    63010: ("retry", "channel_error", "Twilio's platform reports an error of its own."),
    63012: ("retry", "channel_error", "The channel is down for the moment."),
    63013: ("permanent", "policy_violation", "The message violates the channel's policy."),
    63014: ("permanent", "blocked", "The recipient blocks this sender."),
    63015: ("permanent", "recipient_not_allowed", "The sandbox only writes to people who have joined it."),
    63016: ("permanent", "outside_window", "The person has not written within 24 hours: only a template may be sent."),
    63017: ("retry", "throttled", "The recipient gets too many messages."),
    63018: ("throttle", "throttled", "The channel's rate limit is exceeded."),
    63019: ("permanent", "media_unreadable", "The file cannot be fetched."),
    63020: ("account", "account_inactive", "The business account has no valid agreement with the channel."),
    63021: ("permanent", "invalid_content", "The channel refuses the content."),
    63022: ("permanent", "invalid_recipient", "The recipient's identity has changed."),
    63023: ("retry", "channel_error", "The channel reports an error."),
    63024: ("permanent", "undeliverable", "The person is not on WhatsApp."),
    63025: ("permanent", "duplicate", "The file is there already."),
    63027: ("permanent", "template_not_found", "There is no template of this name and language."),
    63028: ("permanent", "template_parameters", "The template has another number of places."),
    63030: ("permanent", "invalid_request", "The channel does not know a parameter."),
    63031: ("permanent", "invalid_recipient", "Sender and recipient are the same."),
    63032: ("permanent", "experiment", "The channel does not deliver it: a limit on this person."),
    63033: ("permanent", "blocked", "The recipient has blocked the sender."),
    63036: ("permanent", "undeliverable", "The recipient cannot be reached on this channel."),
    63038: ("retry", "throttled", "The account's daily limit of messages is used up."),
    63040: ("permanent", "template_not_approved", "The template was rejected."),
    63041: ("permanent", "template_paused", "The template is paused."),
    63042: ("permanent", "template_disabled", "The template is disabled."),
    63049: ("permanent", "engagement_limited", "Meta does not deliver it: the person gets enough marketing messages."),
    63050: ("permanent", "unsubscribed", "The person does not want marketing messages of this business."),
    63051: ("account", "account_blocked", "The WhatsApp Business account is locked."),
}  # fmt: skip


def judge(reply: Reply) -> Judged:
    """What came of a POST to Messages.json."""
    fields = _object(reply.body)
    if 200 <= reply.status < 300:
        return _taken(fields)
    code = _number(fields.get("code"))
    if reply.status == 429:
        return _limited(code, reply)
    if reply.status >= 500 or reply.status == 408:
        return Doubtful(f"http_{reply.status}")
    row = TABLE.get(code) if code is not None else None
    if row is None:
        row = _by_status(reply.status)
    meaning, ours, detail = row
    error = _error(ours, detail, code, reply.status, final=meaning == "permanent")
    if meaning == "permanent":
        return PartRefused(error)
    if meaning == "account":
        return Blocked(error)
    return Throttled(retry_after_s(reply)) if meaning == "throttle" else PartRetry(error, retry_after_s(reply))


def retry_after_s(reply: Reply) -> float | None:
    """`Retry-After` in seconds, an hour at most; a date is passed over. Source: RFC 9110 §10.2.3"""
    text = reply.headers.get("retry-after", "").strip()
    return min(float(text), 3_600.0) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def error_of(code: int | None, status: str) -> MessageError:
    """Why a message that Twilio took ended badly."""
    _, ours, detail = TABLE.get(code or 0, ("permanent", f"carrier_{status}", f"Twilio reports: {status}."))
    return _error(ours, detail, code, 0, final=True)


def _taken(fields: dict[str, Any]) -> Judged:
    sid, status = fields.get("sid"), fields.get("status")
    if status in ("failed", "undelivered"):
        return PartRefused(error_of(_number(fields.get("error_code")), str(status)))
    # taken, even if the answer does not say as what: another try would be a second message
    return PartSent(sid if isinstance(sid, str) and len(sid) <= 64 else "")


def _limited(code: int | None, reply: Reply) -> Judged:
    row = TABLE.get(code or 0)
    if row is not None and row[0] == "retry":  # a limit of the day or of one sender: the others need not wait
        return PartRetry(_error(row[1], row[2], code, 429, final=False), retry_after_s(reply))
    return Throttled(retry_after_s(reply))


def _by_status(status: int) -> _Row:
    if status in (401, 403):
        return TABLE[20003]
    if status == 404 or 300 <= status < 400:
        return TABLE[20404]
    return "permanent", "refused", f"Twilio refuses the message (HTTP {status})."


def _error(ours: str, detail: str, code: int | None, status: int, *, final: bool) -> MessageError:
    theirs = str(code) if code is not None else f"HTTP {status}" if status else None
    return MessageError(code=ours, detail=detail, permanent=final, retryable=not final, provider_code=theirs, spec=SPEC)


def _object(body: bytes) -> dict[str, Any]:
    found = json_of(body)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
