"""What Amazon SES answers to SendEmail. Source: Amazon SES API v2 "SendEmail", errors; AWS "Common errors"."""

from typing import Any, Final, Literal, cast

from tidings.channels.email.over_http import carrier_error, text
from tidings.channels.http.call import Blocked, Doubtful, Judged, Throttled
from tidings.channels.http.json import json_of
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.kit.outbound import Reply

SPEC: Final = "Amazon SES API v2"
_QUOTA_S: Final = 3_600.0
#: Amazon's name → (what to do, our code, in words).
TABLE: Final[dict[str, tuple[Literal["permanent", "retry", "throttle", "account"], str, str]]] = {
    "MessageRejected": ("permanent", "rejected_content", "Amazon SES rejects the mail."),
    "BadRequestException": ("permanent", "refused", "Amazon SES cannot use the request."),
    "MailFromDomainNotVerifiedException": ("permanent", "invalid_sender", "The sender's MAIL FROM domain is not verified."),
    "NotFoundException": ("account", "bad_configuration", "The configuration set, or another thing of the account, is not there."),
    "AccountSuspendedException": ("account", "account_blocked", "The account may not send any more."),
    "SendingPausedException": ("account", "account_blocked", "Sending is paused for the account or the configuration set."),
    "LimitExceededException": ("retry", "quota", "The account's quota is used up."),
    "TooManyRequestsException": ("throttle", "throttled", "Too fast."),
    "ThrottlingException": ("throttle", "throttled", "Too fast."),
    "Throttling": ("throttle", "throttled", "Too fast."),
    "RequestExpired": ("account", "bad_clock", "Amazon finds the time of the request wrong: check this server's clock."),
    "RequestTimeTooSkewed": ("account", "bad_clock", "Amazon finds the time of the request wrong: check this server's clock."),
}  # fmt: skip


def judge(reply: Reply) -> Judged:
    """The answer to one mail."""
    found = json_of(reply.body)
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if 200 <= reply.status < 300:  # taken, even if it does not say as what: another try would be a second mail
        return PartSent(text(fields, "MessageId")[:256])
    name = (reply.headers.get("x-amzn-errortype", "") or text(fields, "__type")).rpartition("#")[2].partition(":")[0]
    said = text(fields, "message") or text(fields, "Message")
    row = TABLE.get(name)
    if row is None:
        return _by_status(reply.status, name, said)
    what, code, detail = row
    if name == "MessageRejected" and "not verified" in said:
        code, detail = "invalid_sender", "The sender is not verified with Amazon SES."
    error = carrier_error(code, detail, name, SPEC, final=what == "permanent", said=said)
    if what == "permanent":
        return PartRefused(error)
    if what == "throttle":
        return Throttled(None)
    return PartRetry(error, _QUOTA_S) if what == "retry" else Blocked(error)


def _by_status(status: int, name: str, said: str) -> Judged:
    theirs = name or f"http:{status}"
    if status == 429:
        return Throttled(None)
    if status >= 500 or status == 408:
        return Doubtful(f"http_{status}")
    if status in (401, 403, 404) or 300 <= status < 400:
        return Blocked(
            carrier_error(
                "bad_credentials",
                "Amazon refuses the request's signature or rights.",
                theirs,
                SPEC,
                final=False,
                said=said,
            )
        )
    return PartRefused(carrier_error("refused", "Amazon SES refuses the mail.", theirs, SPEC, final=True, said=said))
