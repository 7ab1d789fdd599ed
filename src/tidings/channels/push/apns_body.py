"""What iOS and APNs themselves read of a notification; FCM hands the same on.

Source: Apple, "Sending notification requests to APNs"; "Generating a remote notification", Table 1
"""

from typing import Any

from tidings.channels.push.parts import some
from tidings.domain.push import PushContent


def apns_headers(content: PushContent, lives_s: int | None, now_ms: int) -> dict[str, str]:
    """Priority, life and collapsing."""
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
    """What iOS itself reads, without the alert."""
    return some(
        badge=content.badge,
        sound=content.sound if content.shown else None,
        category=content.action,
        **{
            "mutable-content": 1 if content.shown and content.image else None,  # an extension of the app fetches it
            "content-available": None if content.shown else 1,
        },
    )
