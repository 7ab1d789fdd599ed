"""`email.ses`: signatures as botocore makes them, answers, and events that are believed only when SNS signed them."""

from __future__ import annotations

import base64
import datetime as dt
import json
from email import message_from_bytes, policy
from typing import Any

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials

from peers.carriers import RecordingSink
from peers.mail_carriers import CERTIFICATE, TOPIC, SesCarrier
from peers.mails import mail
from tidings.channels.callback import NotGenuine, RawRequest, Taken, Unreadable
from tidings.channels.contract import ProviderSpec
from tidings.channels.email.ses import SesProvider
from tidings.channels.email.ses_answers import judge
from tidings.channels.email.ses_events import read_event
from tidings.channels.email.sns import Ask, SnsDesk
from tidings.channels.http.call import Blocked, Call, Doubtful, Throttled
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.domain.errors import SettingsError
from tidings.kit.outbound import Reply
from tidings.protocols.sigv4 import Credentials, signed_headers

CARRIER = SesCarrier()
ATTEMPT = "att_" + "0" * 28 + "beef"
ACCOUNT: dict[str, Any] = {
    "region": "eu-central-1", "access_key_id": "AKID", "secret_access_key": "s", "sender": "ann@example.com", "topic_arn": TOPIC,
}  # fmt: skip


@pytest.mark.parametrize("token", ["", "a token"])
@pytest.mark.parametrize("path", ["/v2/email/outbound-emails", "/", "/a b/ü"])
def test_signatures_are_botocore_s(path: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, now = b'{"x": "\xc3\xbc"}', dt.datetime(2026, 11, 26, 12, 0, 1, tzinfo=dt.UTC)
    url = f"https://email.eu-central-1.amazonaws.com{path}"
    theirs = AWSRequest("POST", url, headers={"Content-Type": "application/json"}, data=body)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now, raising=False)
    SigV4Auth(TheirCredentials("AKID", "secret", token or None), "ses", "eu-central-1").add_auth(theirs)
    ours = signed_headers(
        "POST", url, {"Content-Type": "application/json"}, body, Credentials(key_id="AKID", secret="secret", token=token),
        region="eu-central-1", service="ses",
        at_s=dt.datetime.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC).timestamp(),
    )  # fmt: skip
    assert ours["Authorization"] == theirs.headers["Authorization"]


def provider(**config: Any) -> SesProvider:
    made = SesProvider(ProviderSpec(name="acme", type="email.ses", config=ACCOUNT | config), RecordingSink())
    made.desk.answered(Ask("certificate", CERTIFICATE), CARRIER.certificate())
    return made


def test_the_request() -> None:
    call = provider(configuration_set="cs").engine._codec.call(mail(name=ATTEMPT, text="Grüße"), 0, 1_764_000_000_000)  # pyright: ignore
    assert isinstance(call, Call)
    body = json.loads(call.body or b"")
    assert body["Destination"] == {"ToAddresses": ["bob@example.net"]}
    assert body["EmailTags"] == [{"Name": "tidings_attempt", "Value": ATTEMPT}]
    assert body["ConfigurationSetName"] == "cs"
    found = message_from_bytes(base64.b64decode(body["Content"]["Raw"]["Data"]), policy=policy.default)
    assert found.get_content().strip() == "Grüße"  # type: ignore[attr-defined]
    assert isinstance(provider().engine._codec.call(mail(subject="x\ny"), 0, 0), PartRefused)  # pyright: ignore


MAIL = {"messageId": "0100", "destination": ["bob@example.net"], "tags": {"tidings_attempt": [ATTEMPT]}}


def bounce(kind: str, sub: str, status: str) -> dict[str, Any]:
    return {
        "bounceType": kind,
        "bounceSubType": sub,
        "bouncedRecipients": [
            {"emailAddress": "bob@example.net", "status": status, "diagnosticCode": "smtp; 550 <bob@example.net>"}
        ],
    }


EVENTS: list[tuple[dict[str, Any], str, str | None, str | None, str | None]] = [
    ({"eventType": "Send"}, "pending", None, None, None), ({"eventType": "DeliveryDelay"}, "pending", None, None, None),
    ({"eventType": "Delivery"}, "delivered", None, None, None), ({"notificationType": "Delivery"}, "delivered", None, None, None),
    ({"eventType": "Open"}, "delivered", "read", None, None), ({"eventType": "Click"}, "delivered", "clicked", None, None),
    ({"eventType": "Subscription"}, "pending", "unsubscribed", "unsubscribed", None),
    ({"eventType": "Complaint", "complaint": {"complaintFeedbackType": "abuse"}}, "pending", "complained", "complained", None),
    ({"eventType": "Complaint", "complaint": {"complaintFeedbackType": "not-spam"}}, "pending", None, None, None),
    ({"eventType": "Complaint", "complaint": {"complaintSubType": "OnAccountSuppressionList"}}, "undelivered", None,
     "complained", "complained"),
    ({"eventType": "Bounce", "bounce": bounce("Permanent", "General", "5.1.1")}, "undelivered", None, "bounced",
     "invalid_recipient"),
    ({"eventType": "Bounce", "bounce": bounce("Permanent", "Suppressed", "")}, "undelivered", None, "bounced", "invalid_recipient"),
    ({"eventType": "Bounce", "bounce": bounce("Permanent", "General", "5.7.1")}, "undelivered", None, None, "rejected_by_policy"),
    ({"eventType": "Bounce", "bounce": bounce("Transient", "MailboxFull", "5.2.2")}, "undelivered", None, None, "mailbox_full"),
    ({"eventType": "Bounce", "bounce": {"bounceType": "Undetermined"}}, "undelivered", None, None, "invalid_recipient"),
    ({"eventType": "Reject", "reject": {"reason": "Bad content"}}, "undelivered", None, None, "rejected_content"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "state", "engagement", "suppress", "code"), EVENTS)
def test_events(
    event: dict[str, Any], state: str, engagement: str | None, suppress: str | None, code: str | None
) -> None:
    called = provider().callback(CARRIER.signed(event | {"mail": MAIL}))
    assert isinstance(called, Taken)
    (found,) = called.receipts
    assert (found.refs, found.to, found.user_ref) == (("0100",), "bob@example.net", 0xBEEF)
    assert (found.state, found.engagement, found.suppress) == (state, engagement, suppress)
    assert (found.error.code if found.error else None) == code
    assert "bob@" not in (found.error.detail if found.error else "")


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "{}", '{"eventType": "Send"}', '{"eventType": 1, "mail": 2}', '{"mail": {"messageId": "1"}}'],
)
def test_odd_events(text: str) -> None:
    assert isinstance(read_event("acme", text, 0), Unreadable)


def test_odd_parts_of_events() -> None:
    for odd in ({"tags": 1}, {"tags": {"tidings_attempt": [7]}}, {"destination": [1]}, {"destination": []}):
        assert isinstance(read_event("acme", json.dumps({"eventType": "Delivery", "mail": MAIL | odd}), 0), Taken)
    for odd_bounce in (1, {"bouncedRecipients": 1}, {"bouncedRecipients": []}, {"bouncedRecipients": [7]}):
        event = {"eventType": "Bounce", "mail": MAIL, "bounce": odd_bounce}
        assert isinstance(read_event("acme", json.dumps(event), 0), Taken)


def changed(request: RawRequest, **fields: Any) -> RawRequest:
    body = json.loads(request.body) | fields
    return msgspec.structs.replace(
        request, body=json.dumps({name: text for name, text in body.items() if text is not None}).encode()
    )


@pytest.mark.parametrize("version", ["1", "2"])
def test_only_what_sns_signed_is_believed(version: str) -> None:
    made = provider()
    good = CARRIER.signed({"eventType": "Delivery", "mail": MAIL}, SignatureVersion=version, Subject="x")
    assert isinstance(made.callback(good), Taken)
    bad: list[dict[str, Any]] = [
        {"Message": "{}"}, {"Signature": ""}, {"Signature": "é"}, {"Signature": base64.b64encode(b"x" * 256).decode()},
        {"Subject": "y"}, {"Timestamp": "2027"}, {"MessageId": "2"}, {"SignatureVersion": "3"}, {"Type": "Other"},
        {"TopicArn": TOPIC + "x"}, {"Type": "UnsubscribeConfirmation"}, {"SignatureVersion": "1" if version == "2" else "2"},
        {"SigningCertURL": "https://example.com/SimpleNotificationService-0.pem"},
        {"SigningCertURL": CERTIFICATE.replace("https", "http")},
        {"SigningCertURL": "https://sns.eu.amazonaws.com.example.com/SimpleNotificationService-0.pem"}, {"SigningCertURL": None},
        {"SigningCertURL": "https://sns.eu.amazonaws.com/../SimpleNotificationService-0.pem"},
        {"SigningCertURL": "https://sns.eu.amazonaws.com@example.com/SimpleNotificationService-0.pem"},
    ]  # fmt: skip
    for fields in bad:
        assert isinstance(made.callback(changed(good, **fields)), NotGenuine), fields
    for body in (b"", b"x", b"[]", b"\xff"):
        assert isinstance(made.callback(msgspec.structs.replace(good, body=body)), NotGenuine)
    assert isinstance(provider(topic_arn="").callback(good), NotGenuine)


def test_a_certificate_is_fetched_once_and_sns_calls_again() -> None:
    desk = SnsDesk(TOPIC)
    good = CARRIER.signed({"eventType": "Delivery", "mail": MAIL})
    read: list[str] = []

    def note(envelope: Any) -> Taken:
        read.append(envelope.message)
        return Taken()

    called, ask = desk.take(good, note)
    assert isinstance(called, Taken)
    assert called.reply.status == 503
    assert ask == Ask("certificate", CERTIFICATE)
    assert desk.take(good, note)[1] is None  # under way
    desk.failed(ask)
    assert desk.take(good, note)[1] == ask
    desk.answered(ask, b"no certificate")
    assert desk.take(good, note)[1] == ask
    desk.answered(ask, CARRIER.certificate())
    assert not read
    assert desk.take(good, note) == (Taken(), None)
    assert len(read) == 1


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=x&Token=y", True),
        ("https://example.com/?Action=ConfirmSubscription&Token=y", False), ("http://127.0.0.1/", False),
    ],
)  # fmt: skip
def test_subscriptions(url: str, asked: bool) -> None:
    desk = SnsDesk(TOPIC)
    desk.answered(Ask("certificate", CERTIFICATE), CARRIER.certificate())
    call = CARRIER.signed("You have chosen …", Type="SubscriptionConfirmation", SubscribeURL=url, Token="y")
    _, ask = desk.take(call, lambda envelope: Taken())
    assert ask == (Ask("confirmation", url) if asked else None)


ANSWERS: list[tuple[int, str, str, type, str]] = [
    (200, "", "", PartSent, ""), (400, "MessageRejected", "", PartRefused, "rejected_content"),
    (400, "MessageRejected", "Email address is not verified.", PartRefused, "invalid_sender"),
    (400, "MailFromDomainNotVerifiedException", "", PartRefused, "invalid_sender"), (400, "BadRequestException", "",
     PartRefused, "refused"),
    (400, "LimitExceededException", "", PartRetry, "quota"), (429, "TooManyRequestsException", "", Throttled, ""), (429, "",
     "", Throttled, ""),
    (400, "AccountSuspendedException", "", Blocked, "account_blocked"), (403, "SignatureDoesNotMatch", "", Blocked,
     "bad_credentials"),
    (403, "com.amazon#ExpiredTokenException:http://x", "", Blocked, "bad_credentials"), (500, "InternalFailure", "", Doubtful, ""),
    (503, "", "", Doubtful, ""), (400, "New", "", PartRefused, "refused"), (302, "", "", Blocked, "bad_credentials"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "name", "said", "kind", "code"), ANSWERS)
def test_answers(status: int, name: str, said: str, kind: type, code: str) -> None:
    for reply in (
        Reply(status, {"x-amzn-errortype": name}, json.dumps({"message": said}).encode()),
        Reply(status, {}, json.dumps({"__type": name, "message": said}).encode()),
    ):
        found = judge(reply)
        assert type(found) is kind
        if code:
            assert isinstance(found, PartRefused | PartRetry | Blocked)
            assert found.error.code == code


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"region": "x/y"}, "region"), ({"secret_access_key": ""}, "secret_access_key"), ({"access_key_id": "a b"},
         "access_key_id"),
        ({"topic_arn": "x"}, "topic_arn"), ({"base_url": "http://example.com"}, "base_url"), ({"sender": "x"}, "sender"),
        ({"dkim": [{"domain": "example.com", "selector": "a", "private_key": "x"}]}, r"dkim\[0\]"),
    ],
)  # fmt: skip
def test_keys(config: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=f"acme.*`{key}`"):
        provider(**config)
