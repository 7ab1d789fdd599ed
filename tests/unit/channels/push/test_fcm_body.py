"""FCM's requests, judged by Google's discovery document `fcm.v1`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.discovery import document, faults
from tidings.channels.push.fcm import FcmCodec
from tidings.channels.push.fcm_config import Config
from tidings.channels.push.parts import topic_of
from tidings.domain import push
from tidings.domain.attempt import PartRefused, Submission
from tidings.domain.push import PushContent

NOW_MS = 1_700_000_000_000
ACCOUNT = {"project_id": "acme-1a2b3", "client_email": "a@b.iam.gserviceaccount.com", "private_key": "-"}
CODEC = FcmCodec(Config(service_account_key=ACCOUNT))
FULL = PushContent(
    title="Order", body="It shipped", image="https://img.example.com/1.png", data={"order": "7"}, collapse_key="order-7",
    ttl_s=3_600, priority="high", badge=3, sound="ping.caf", click_action="https://shop.example.com/7",
)  # fmt: skip


def sent(content: PushContent | None, **more: Any) -> dict[str, Any]:
    submission = Submission(
        attempt_id="att_1", message_id="msg_1", lane="transactional", to="tok:1", sender=None, channel="push", content=content,
        **more,
    )  # fmt: skip
    call = CODEC.call(submission, 0, NOW_MS)
    assert not isinstance(call, PartRefused)
    assert call.url == "https://fcm.googleapis.com/v1/projects/acme-1a2b3/messages:send"
    found: dict[str, Any] = json.loads(call.body or b"")
    assert faults("fcm.v1", "SendMessageRequest", found) == []
    message: dict[str, Any] = found["message"]
    return message


def test_the_judge_finds_faults() -> None:
    """Otherwise the other tests of this file could not fail."""
    bad = {
        "message": {
            "name": "x", "tokn": "t", "data": {"a": 1}, "android": {"ttl": "1h", "priority": "urgent", "notification": []},
            "apns": {"headers": {"apns-priority": 10}},
        }
    }  # fmt: skip
    assert len(faults("fcm.v1", "SendMessageRequest", bad)) == 7
    assert (
        document("fcm.v1")["resources"]["projects"]["resources"]["messages"]["methods"]["send"]["httpMethod"] == "POST"
    )


def test_everything() -> None:
    message = sent(FULL)
    assert message["token"] == "tok:1"
    assert message["notification"] == {"title": "Order", "body": "It shipped", "image": "https://img.example.com/1.png"}
    assert message["data"] == {"order": "7", "click_action": "https://shop.example.com/7"}
    assert message["android"] == {
        "collapseKey": "order-7", "priority": "HIGH", "ttl": "3600s",
        "notification": {"sound": "ping.caf", "notificationCount": 3, "tag": "order-7"},
    }  # fmt: skip
    assert message["apns"]["payload"] == {"aps": {"badge": 3, "sound": "ping.caf", "mutable-content": 1}}
    assert message["apns"]["headers"] == {
        "apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": "order-7",
        "apns-expiration": str(NOW_MS // 1_000 + 3_600),
    }  # fmt: skip
    assert message["apns"]["fcmOptions"] == {"image": "https://img.example.com/1.png"}
    assert message["webpush"] == {
        "headers": {"TTL": "3600", "Urgency": "high", "Topic": topic_of("order-7")},
        "fcmOptions": {"link": "https://shop.example.com/7"},
    }


def test_an_action_of_the_app() -> None:
    message = sent(PushContent(body="Hi", click_action="OPEN_ORDER"))
    assert message["android"]["notification"] == {"clickAction": "OPEN_ORDER"}
    assert message["apns"]["payload"]["aps"] == {"category": "OPEN_ORDER"}
    assert message["data"] == {"click_action": "OPEN_ORDER"}
    assert "fcmOptions" not in message["webpush"]


def test_data_only_wakes_the_app() -> None:
    message = sent(PushContent(data={"sync": "1"}, sound="ping", image="https://x.example/1.png"))
    assert "notification" not in message
    assert "notification" not in message["android"]
    assert message["apns"]["payload"]["aps"] == {"content-available": 1}
    assert message["apns"]["headers"] == {"apns-push-type": "background", "apns-priority": "5"}


@pytest.mark.parametrize(
    ("ttl_s", "valid_ms", "android", "apns", "web"),
    [
        (None, None, None, None, None),
        (60, None, "60s", "1700000060", "60"),
        (None, NOW_MS + 30_500, "30s", "1700000030", "30"),
        (60, NOW_MS + 30_000, "30s", "1700000030", "30"),
        (10, NOW_MS + 30_000, "10s", "1700000010", "10"),
        (0, NOW_MS + 30_000, "0s", "0", "0"),
        (None, NOW_MS + 1, "0s", "0", "0"),
        (None, NOW_MS + 90 * 86_400_000, "2419200s", "1702419200", "2419200"),
    ],
)
def test_life(ttl_s: int | None, valid_ms: int | None, android: str | None, apns: str | None, web: str | None) -> None:
    message = sent(PushContent(body="Hi", ttl_s=ttl_s), valid_until_ms=valid_ms)
    assert message["android"].get("ttl") == android
    assert message["apns"]["headers"].get("apns-expiration") == apns
    assert message["webpush"]["headers"].get("TTL") == web


def test_each_device_has_its_own_acknowledgement() -> None:
    submission = Submission(
        attempt_id="att_1", message_id="msg_1", lane="otp", to="a", sender=None, channel="push", parts=(b"", b""),
        each=("a", "b"), content=PushContent(body="Hi", data={push.ACK_KEY: "signed"}),
    )  # fmt: skip
    calls = [CODEC.call(submission, n, NOW_MS) for n in range(2)]
    messages = [json.loads(call.body or b"")["message"] for call in calls if not isinstance(call, PartRefused)]
    assert [(m["token"], m["data"][push.ACK_KEY]) for m in messages] == [("a", "signed.0"), ("b", "signed.1")]


def test_a_subscription_is_refused() -> None:
    submission = Submission(attempt_id="a", message_id="m", lane="otp", to='{"endpoint":""}', sender=None)
    call = CODEC.call(submission, 0, NOW_MS)
    assert isinstance(call, PartRefused)
    assert call.error.code == "invalid_recipient"
    assert call.suppress is None  # it may be good for another provider


texts = st.none() | st.text(max_size=20)


@given(
    st.builds(
        PushContent, title=texts, body=texts, image=st.none() | st.just("https://x.example/1"),
        data=st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9), max_size=3),
        collapse_key=st.none() | st.text(min_size=1, max_size=30), ttl_s=st.none() | st.integers(0, push.TTL_MOST_S),
        priority=st.sampled_from(("high", "normal")), badge=st.none() | st.integers(0, push.BADGE_MOST),
        sound=st.none() | st.text(min_size=1, max_size=9), click_action=st.sampled_from((None, "GO", "https://x.example")),
    )
)  # fmt: skip
def test_any_content_is_one_that_fcm_knows(content: PushContent) -> None:
    message = sent(content)
    assert set(message.get("data", {})) >= set(content.data)


@given(st.text(min_size=1, max_size=64))
def test_topics_are_what_rfc_8030_allows(key: str) -> None:
    assert len(topic_of(key)) == 32
    assert all(c.isascii() and (c.isalnum() or c in "-_") for c in topic_of(key))
