"""A notification as FCM takes it: the blocks of a `SendMessageRequest`, in the names of its discovery document.

Source: FCM HTTP v1, projects.messages (Message, AndroidConfig, ApnsConfig, WebpushConfig); RFC 8030 §5.2 to §5.4
"""

from typing import Any

from tidings.channels.push.apns_body import apns_headers, aps_of
from tidings.channels.push.parts import some, topic_of
from tidings.domain.push import PushContent


def message_of(
    content: PushContent, token: str, data: dict[str, str], lives_s: int | None, now_ms: int
) -> dict[str, Any]:
    """The message for one device. `lives_s`: how long FCM may try; None: as long as it likes."""
    shown = some(title=content.title, body=content.body, image=content.image if content.shown else None)
    own = data | some(click_action=content.click_action)
    return some(
        token=token,
        notification=shown,
        data=own,
        android=_android(content, lives_s),
        apns=_apns(content, lives_s, now_ms),
        webpush=_webpush(content, lives_s),
    )


def _android(content: PushContent, lives_s: int | None) -> dict[str, Any]:
    notification = some(
        sound=content.sound,
        clickAction=content.action,
        notificationCount=content.badge,
        tag=content.collapse_key,  # what is shown already is replaced, as on the other platforms
    )
    return some(
        collapseKey=content.collapse_key,
        priority=content.priority.upper(),
        ttl=None if lives_s is None else f"{lives_s}s",
        notification=notification if content.shown else None,
    )


def _apns(content: PushContent, lives_s: int | None, now_ms: int) -> dict[str, Any]:
    return {
        "headers": apns_headers(content, lives_s, now_ms),
        "payload": {"aps": aps_of(content)},
        **some(fcmOptions=some(image=content.image if content.shown else None)),
    }


def _webpush(content: PushContent, lives_s: int | None) -> dict[str, Any]:
    headers = some(
        TTL=None if lives_s is None else str(lives_s),
        Urgency=content.priority,
        Topic=topic_of(content.collapse_key) if content.collapse_key is not None else None,
    )
    return some(headers=headers, fcmOptions=some(link=content.link))
