"""What FCM's answers mean for the message: taken, refused, try again, slow down, or the account itself is wrong.

Source: FCM HTTP v1 "ErrorCode" and "Error codes for the v1 API"; google.rpc.Status, BadRequest and QuotaFailure;
RFC 6749 §5.2 (errors of the token endpoint)
"""

from typing import Any, Final, Literal, cast

from tidings.channels.http.call import Blocked, Doubtful, Judged, Throttled
from tidings.channels.http.json import json_of
from tidings.channels.http.retry_after import retry_after_s
from tidings.channels.push.parts import taken
from tidings.domain.attempt import PartRefused, PartRetry
from tidings.domain.message import MessageError
from tidings.kit.outbound import Reply

SPEC: Final = "FCM HTTP v1, ErrorCode"
REF_CHARS: Final = 256
Meaning = Literal["permanent", "gone", "retry", "throttle", "account", "doubtful"]
_Row = tuple[Meaning, str, str]

#: FCM's code, or that of google.rpc where FCM names none → what it means here, our stable code, what a person should know.
TABLE: Final[dict[str, _Row]] = {
    "UNREGISTERED": ("gone", "unregistered", "The app was removed from the device, or the token has been replaced."),
    "SENDER_ID_MISMATCH": ("permanent", "wrong_sender", "The token belongs to another Firebase project."),
    "INVALID_ARGUMENT": ("permanent", "invalid_content", "FCM says that the message is not valid."),
    "QUOTA_EXCEEDED": ("throttle", "throttled", "FCM says we send too fast."),
    "UNAVAILABLE": ("retry", "unavailable", "FCM is overloaded; nothing was taken."),
    "INTERNAL": ("doubtful", "internal", "FCM failed."),
    "THIRD_PARTY_AUTH_ERROR": (
        "permanent", "third_party_auth", "FCM lacks a valid APNs key, or web push key, for this app: see the project's settings.",
    ),
    "UNAUTHENTICATED": ("account", "bad_credentials", "FCM refuses the access token of the service account."),
    "PERMISSION_DENIED": ("account", "access_denied", "The service account may not send messages in this project."),
    "NOT_FOUND": ("account", "not_found", "FCM knows no such project; see `project_id`."),
    "RESOURCE_EXHAUSTED": ("throttle", "throttled", "FCM says we send too fast."),
    "DEADLINE_EXCEEDED": ("doubtful", "deadline", "FCM ran out of time."),
}  # fmt: skip
_BY_STATUS: Final = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_TOKEN_FIELDS: Final = frozenset({"message.token", "message.fid"})


def judge(reply: Reply) -> Judged:
    """What came of `messages:send`, or of asking for the access token that it needs."""
    fields = _object(json_of(reply.body))
    if 200 <= reply.status < 300:
        return taken(fields.get("name"), REF_CHARS)
    if isinstance(fields.get("error"), str):
        return Blocked(_error("bad_credentials", _oauth_detail(fields), str(fields["error"])[:64], final=False))
    error = _object(fields.get("error"))
    details = [_object(item) for item in _list(error.get("details"))]
    code = _code(reply.status, error, details)
    row = TABLE.get(code)
    if row is None:
        return _unknown_code(code, reply.status)
    return _meant(row, code, reply, details)


def _meant(row: _Row, code: str, reply: Reply, details: list[dict[str, Any]]) -> Judged:
    meaning, ours, detail = row
    if meaning == "gone":
        return PartRefused(_error(ours, detail, code, final=True), "unregistered")
    if meaning == "permanent":
        if code == "INVALID_ARGUMENT" and _about_token(details):
            said = "FCM says that this is no token of its."
            return PartRefused(_error("invalid_recipient", said, code, final=True), "invalid")
        return PartRefused(_error(ours, detail, code, final=True))
    if meaning == "account":
        return Blocked(_error(ours, detail, code, final=False))
    if meaning == "doubtful":
        return Doubtful(f"http_{reply.status}")
    if meaning == "retry" or _of_one_device(details):
        return PartRetry(_error(ours, detail, code, final=False), retry_after_s(reply))
    return Throttled(retry_after_s(reply))


def _unknown_code(code: str, status: int) -> Judged:
    if status == 429:
        return Throttled(None)
    if status >= 500 or status == 408:
        return Doubtful(f"http_{status}")
    return PartRefused(_error("refused", f"FCM refuses the message (HTTP {status}).", code, final=True))


def _code(status: int, error: dict[str, Any], details: list[dict[str, Any]]) -> str:
    """FCM's own code goes before google.rpc's, and that before the HTTP status."""
    for item in details:
        if str(item.get("@type", "")).endswith("google.firebase.fcm.v1.FcmError"):
            code = item.get("errorCode")
            if isinstance(code, str) and code in TABLE:
                return code
    named = error.get("status")
    if isinstance(named, str) and named in TABLE:
        return named
    return _BY_STATUS.get(status, str(named)[:64] if isinstance(named, str) else f"HTTP {status}")


def _about_token(details: list[dict[str, Any]]) -> bool:
    violations = [_object(one) for item in details for one in _list(item.get("fieldViolations"))]
    return any(violation.get("field") in _TOKEN_FIELDS for violation in violations)


def _of_one_device(details: list[dict[str, Any]]) -> bool:
    """A quota that only this device has used up: the others need not wait."""
    violations = [_object(one) for item in details for one in _list(item.get("violations"))]
    return bool(violations) and all(str(one.get("subject", "")).startswith("device:") for one in violations)


def _oauth_detail(fields: dict[str, Any]) -> str:
    said = fields.get("error_description")
    return (
        f"Google refuses the service account: {said[:200]}"
        if isinstance(said, str)
        else "Google refuses the service account."
    )


def _error(ours: str, detail: str, theirs: str, *, final: bool) -> MessageError:
    return MessageError(code=ours, detail=detail, permanent=final, retryable=not final, provider_code=theirs, spec=SPEC)


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
