"""What APNs' answers mean for the message: taken, refused, try again, slow down, or the account itself is wrong.

A token that APNs calls bad is *not* suppressed: it may only belong to the other environment, and so may all of them.
Source: Apple, "Handling notification responses from APNs", Tables 4 and 6
"""

from typing import Any, Final, Literal, cast

from tidings.channels.http.call import Blocked, Doubtful, Judged, Throttled
from tidings.channels.http.json import json_of
from tidings.channels.http.retry_after import retry_after_s
from tidings.channels.push.parts import taken
from tidings.domain.attempt import PartRefused, PartRetry
from tidings.domain.message import MessageError
from tidings.kit.outbound import Reply

SPEC: Final = "APNs, Handling notification responses"
REF_CHARS: Final = 64
#: Apple allows a new provider token every 20 minutes.
TOKEN_PAUSE_S: Final = 60.0
Meaning = Literal["permanent", "gone", "retry", "throttle", "account", "doubtful"]
_Row = tuple[Meaning, str, str]
_CREDENTIALS: Final = "APNs refuses the provider token; see `key_id`, `team_id` and `private_key`."

#: APNs' reason → what it means here, our stable code, what a person should know.
TABLE: Final[dict[str, _Row]] = {
    "Unregistered": ("gone", "unregistered", "The app was removed from the device."),
    "ExpiredToken": ("gone", "unregistered", "The device token has expired."),
    "BadDeviceToken": ("permanent", "invalid_recipient", "APNs knows no such token in this environment."),
    "DeviceTokenNotForTopic": ("permanent", "wrong_sender", "The token belongs to another app; see `topic`."),
    "MissingDeviceToken": ("permanent", "invalid_recipient", "The message has no device token."),
    "BadCollapseId": ("permanent", "invalid_content", "APNs says that the collapse key is not valid."),
    "BadExpirationDate": ("permanent", "invalid_content", "APNs says that the expiration is not valid."),
    "BadMessageId": ("permanent", "invalid_content", "APNs says that the id is not valid."),
    "BadPriority": ("permanent", "invalid_content", "APNs says that the priority is not valid."),
    "DuplicateHeaders": ("permanent", "invalid_content", "APNs says that a header is repeated."),
    "InvalidPushType": ("permanent", "invalid_content", "APNs says that the push type is not valid."),
    "PayloadEmpty": ("permanent", "empty_content", "The notification is empty."),
    "PayloadTooLarge": ("permanent", "message_too_long", "The notification has more than 4,096 octets."),
    "IdleTimeout": ("retry", "unavailable", "APNs closed the connection."),
    "TooManyRequests": ("retry", "throttled", "APNs says that this device gets too many notifications."),
    "ServiceUnavailable": ("retry", "unavailable", "APNs is not available; nothing was taken."),
    "Shutdown": ("retry", "unavailable", "This server of APNs is shutting down; nothing was taken."),
    "TooManyProviderTokenUpdates": ("throttle", "throttled", "APNs says that the provider token changes too often."),
    "InternalServerError": ("doubtful", "internal", "APNs failed."),
    "ExpiredProviderToken": ("account", "bad_credentials", "APNs says that a fresh token has expired: is the clock right?"),
    "InvalidProviderToken": ("account", "bad_credentials", _CREDENTIALS),
    "MissingProviderToken": ("account", "bad_credentials", _CREDENTIALS),
    "UnrelatedKeyIdInToken": ("account", "bad_credentials", _CREDENTIALS),
    "BadEnvironmentKeyIdInToken": ("account", "bad_credentials", "The key is for the other environment of APNs."),
    "BadCertificate": ("account", "bad_credentials", _CREDENTIALS),
    "BadCertificateEnvironment": ("account", "bad_credentials", _CREDENTIALS),
    "Forbidden": ("account", "access_denied", "APNs forbids it."),
    "BadTopic": ("account", "invalid_topic", "APNs says that `topic` is not valid."),
    "MissingTopic": ("account", "invalid_topic", "APNs says that `topic` is missing."),
    "TopicDisallowed": ("account", "invalid_topic", "The key may not push to `topic`."),
    "BadPath": ("account", "not_found", "This is no APNs server; see `base_url`."),
    "MethodNotAllowed": ("account", "not_found", "This is no APNs server; see `base_url`."),
}  # fmt: skip
#: Where the answer names no reason that we know.
_BY_STATUS: Final = {
    403: "InvalidProviderToken", 404: "BadPath", 405: "MethodNotAllowed", 410: "Unregistered", 413: "PayloadTooLarge",
    429: "TooManyRequests", 503: "ServiceUnavailable",
}  # fmt: skip


def judge(reply: Reply) -> Judged:
    """What came of a POST to /3/device/…"""
    if reply.status == 200:
        return taken(reply.headers.get("apns-id"), REF_CHARS)
    reason = reason_of(reply)
    row = TABLE.get(reason) or TABLE.get(_BY_STATUS.get(reply.status, ""))
    if row is None:
        if reply.status >= 500 or reply.status == 408:
            return Doubtful(f"http_{reply.status}")
        row = ("permanent", "refused", f"APNs refuses the message (HTTP {reply.status}).")
    meaning, ours, detail = row
    final = meaning in ("permanent", "gone")
    error = MessageError(
        code=ours, detail=detail, permanent=final, retryable=not final, provider_code=reason or f"HTTP {reply.status}",
        spec=SPEC,
    )  # fmt: skip
    if final:
        return PartRefused(error, "unregistered" if meaning == "gone" else None)
    if meaning == "account":
        return Blocked(error)
    if meaning == "doubtful":
        return Doubtful(f"http_{reply.status}")
    after_s = retry_after_s(reply)
    if meaning == "throttle":
        return Throttled(TOKEN_PAUSE_S if after_s is None else after_s)
    return PartRetry(error, after_s)


def reason_of(reply: Reply) -> str:
    """The `reason` of an answer; empty if it has none."""
    found = json_of(reply.body)
    reason = cast("dict[str, Any]", found).get("reason") if isinstance(found, dict) else None
    return reason[:64] if isinstance(reason, str) else ""
