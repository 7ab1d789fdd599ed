"""A notification as FCM takes it: the blocks of a `SendMessageRequest`, in the names of its discovery document.

Source: FCM HTTP v1, projects.messages (Message, AndroidConfig, ApnsConfig, WebpushConfig); RFC 8030 §5.2 to §5.4
"""

import base64
import hashlib
from typing import Any

from tidings.domain.push import PushContent

TOPIC_CHARS = 32  # RFC 8030 §5.4


def message_of(
    content: PushContent, token: str, data: dict[str, str], lives_s: int | None, now_ms: int
) -> dict[str, Any]:
    """The message for one device. `lives_s`: how long FCM may try; None: as long as it likes."""
    shown = _some(title=content.title, body=content.body, image=content.image if content.shown else None)
    own = data | _some(click_action=content.click_action)
    return _some(
        token=token,
        notification=shown,
        data=own,
        android=_android(content, lives_s),
        apns=_apns(content, lives_s, now_ms),
        webpush=_webpush(content, lives_s),
    )


def topic_of(collapse_key: str) -> str:
    """A Topic header: 32 characters of base64url, whatever the key is. Source: RFC 8030 §5.4"""
    hashed = hashlib.sha256(collapse_key.encode()).digest()
    return base64.urlsafe_b64encode(hashed)[:TOPIC_CHARS].decode()


def _android(content: PushContent, lives_s: int | None) -> dict[str, Any]:
    notification = _some(
        sound=content.sound,
        clickAction=content.action,
        notificationCount=content.badge,
        tag=content.collapse_key,  # what is shown already is replaced, as on the other platforms
    )
    return _some(
        collapseKey=content.collapse_key,
        priority=content.priority.upper(),
        ttl=None if lives_s is None else f"{lives_s}s",
        notification=notification if content.shown else None,
    )


def _apns(content: PushContent, lives_s: int | None, now_ms: int) -> dict[str, Any]:
    return {
        "headers": apns_headers(content, lives_s, now_ms),
        "payload": {"aps": aps_of(content)},
        **_some(fcmOptions=_some(image=content.image if content.shown else None)),
    }


def apns_headers(content: PushContent, lives_s: int | None, now_ms: int) -> dict[str, str]:
    """Priority, life and collapsing. Source: Apple, "Sending notification requests to APNs" """
    headers = {
        "apns-push-type": "alert" if content.shown else "background",
        "apns-priority": "10" if content.shown and content.priority == "high" else "5",  # background: 10 is an error
    }
    if content.collapse_key is not None:
        headers["apns-collapse-id"] = content.collapse_key
    if lives_s is not None:  # 0: now or never
        headers["apns-expiration"] = str(now_ms // 1_000 + lives_s) if lives_s else "0"
    return headers


def aps_of(content: PushContent) -> dict[str, Any]:
    """What iOS itself reads, without the alert. Source: Apple, "Generating a remote notification", Table 1"""
    return _some(
        badge=content.badge,
        sound=content.sound if content.shown else None,
        category=content.action,
        **{
            "mutable-content": 1 if content.shown and content.image else None,  # an extension of the app fetches it
            "content-available": None if content.shown else 1,
        },
    )


def _webpush(content: PushContent, lives_s: int | None) -> dict[str, Any]:
    headers = _some(
        TTL=None if lives_s is None else str(lives_s),
        Urgency=content.priority,
        Topic=topic_of(content.collapse_key) if content.collapse_key is not None else None,
    )
    return _some(headers=headers, fcmOptions=_some(link=content.link))


def _some(**fields: Any) -> dict[str, Any]:
    """The fields that are there."""
    return {name: value for name, value in fields.items() if value not in (None, {})}
