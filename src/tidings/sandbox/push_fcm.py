"""What the simulated FCM and its token endpoint answer. Pure: the server around it is `sandbox/push.py`.

Source: FCM HTTP v1 projects.messages:send, "ErrorCode"; google.rpc.Status; RFC 7523 §3 (what an assertion must say)
"""

import hashlib
import json
from collections import OrderedDict
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tidings.channels.push.google_auth import GRANT, SCOPE
from tidings.protocols.jwt import un_b64url

TOKEN_LIFE_S: Final = 3_600
LEEWAY_S: Final = 300
#: What is remembered of throttled messages; the oldest is forgotten first.
REMEMBERED: Final = 10_000
PAYLOAD_OCTETS: Final = 4_096
_TYPE: Final = "type.googleapis.com/"
_BLOCKS: Final = frozenset(
    {"token", "fid", "notification", "data", "android", "apns", "webpush", "fcmOptions", "topic", "condition", "name"}
)


class Answer(msgspec.Struct, frozen=True):
    """Status, body and headers. `data`: that of a message which was taken."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = {}
    token: str = ""
    data: dict[str, str] = {}


def fcm_error(http: int, status: str, code: str, message: str, retry_after_s: int | None = None, **more: Any) -> Answer:
    """An error as FCM writes it. `code`: FCM's own, none if empty; `more`: fields of a further detail."""
    details: list[dict[str, Any]] = (
        [{"@type": _TYPE + "google.firebase.fcm.v1.FcmError", "errorCode": code}] if code else []
    )
    if more:
        details.append(more)
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Answer(http, {"error": {"code": http, "message": message, "status": status, "details": details}}, headers)


def invalid(field: str, said: str) -> Answer:
    """INVALID_ARGUMENT, naming the field."""
    violation: dict[str, Any] = {"@type": _TYPE + "google.rpc.BadRequest"}
    violation["fieldViolations"] = [{"field": field, "description": said}]
    return fcm_error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", said, None, **violation)


def throttled(subject: str, retry_after_s: int = 1) -> Answer:
    """QUOTA_EXCEEDED. `subject`: whose quota, `device:…` or `project:…`."""
    violation: dict[str, Any] = {"@type": _TYPE + "google.rpc.QuotaFailure"}
    violation["violations"] = [{"subject": subject, "description": "Message rate exceeded"}]
    return fcm_error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Quota exceeded.", retry_after_s, **violation)


class TokenDesk:
    """The token endpoint of one service account: checks the assertion, gives access tokens that expire."""

    def __init__(self, email: str, key: rsa.RSAPublicKey, uri: str) -> None:
        self.email, self.uri = email, uri
        self._key = key
        self._tokens: OrderedDict[str, int] = OrderedDict()
        self.given = 0

    def give(self, form: str, now_s: int) -> Answer:
        """An access token, or the error of RFC 6749 §5.2."""
        fields = dict(parse_qsl(form))
        if fields.get("grant_type") != GRANT:
            return Answer(400, {"error": "unsupported_grant_type", "error_description": "use a JWT bearer assertion"})
        problem = self._problem(fields.get("assertion", ""), now_s)
        if problem:
            return Answer(400, {"error": "invalid_grant", "error_description": problem})
        self.given += 1
        token = f"sandbox-{self.given}-{hashlib.sha256(fields['assertion'].encode()).hexdigest()[:24]}"
        self._tokens[token] = now_s + TOKEN_LIFE_S
        while len(self._tokens) > 100:
            self._tokens.popitem(last=False)
        return Answer(200, {"access_token": token, "expires_in": TOKEN_LIFE_S - 1, "token_type": "Bearer"})

    def takes(self, authorization: str, now_s: int) -> bool:
        """Whether an Authorization header has a token that is still good."""
        scheme, _, token = authorization.partition(" ")
        return scheme == "Bearer" and self._tokens.get(token, 0) > now_s

    def revoke(self) -> None:
        """No token given so far is good any more."""
        self._tokens.clear()

    def _problem(self, assertion: str, now_s: int) -> str:
        text, _, signature = assertion.rpartition(".")
        try:
            self._key.verify(un_b64url(signature), text.encode(), padding.PKCS1v15(), SHA256())
            header, claims = (cast("dict[str, Any]", json.loads(un_b64url(part))) for part in text.split("."))
        except (InvalidSignature, ValueError):
            return "Invalid JWT Signature."
        if header.get("alg") != "RS256" or claims.get("iss") != self.email or claims.get("aud") != self.uri:
            return "Invalid JWT: alg, iss or aud."
        if SCOPE not in str(claims.get("scope", "")).split():
            return "Invalid scope."
        start, end = claims.get("iat", 0), claims.get("exp", 0)
        if not (start - LEEWAY_S <= now_s < end + LEEWAY_S and end - start <= 3_600):
            return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
        return ""


class Devices:
    """What `messages:send` answers for each token. Source: api.md, "Sandbox recipients" """

    def __init__(self) -> None:
        self._throttled: OrderedDict[bytes, None] = OrderedDict()

    def send(self, body: bytes) -> Answer:
        """The answer to a request whose access token is good."""
        try:
            request = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            return invalid("", f"Invalid JSON payload received: {error}")
        message = request.get("message")
        if not isinstance(message, dict):
            return invalid("message", "message is required")
        return self._send(cast("dict[str, Any]", message))

    def _send(self, message: dict[str, Any]) -> Answer:
        unknown = sorted(set(message) - _BLOCKS)
        if unknown:
            return invalid(f"message.{unknown[0]}", f"Unknown name \"{unknown[0]}\" at 'message': Cannot find field.")
        token = message.get("token")
        if not isinstance(token, str) or not token or token.startswith("sandbox-invalid"):
            return invalid("message.token", "The registration token is not a valid FCM registration token")
        try:
            data = msgspec.convert(message.get("data", {}), dict[str, str])
        except msgspec.ValidationError:
            return invalid("message.data", "data must be a map of strings")
        shown: dict[str, Any] = {"notification": message.get("notification", {}), "data": data}
        if len(json.dumps(shown, ensure_ascii=False).encode()) > PAYLOAD_OCTETS:
            return invalid("message", "Android message is too big")
        if token.startswith("sandbox-unregistered"):
            return fcm_error(404, "NOT_FOUND", "UNREGISTERED", "Requested entity was not found.")
        if token.startswith("sandbox-throttled") and self._first(token, shown):
            return throttled(f"device:{token}")
        return Answer(200, {}, {}, token, data)

    def _first(self, token: str, shown: dict[str, Any]) -> bool:
        """Whether this message comes for the first time. Its acknowledgement's token names the attempt, so it is left out."""
        data = {name: value for name, value in shown["data"].items() if name != "tidings_ack"}
        key = hashlib.sha256(json.dumps([token, shown["notification"], data], sort_keys=True).encode()).digest()
        if key in self._throttled:
            del self._throttled[key]
            return False
        self._throttled[key] = None
        if len(self._throttled) > REMEMBERED:
            self._throttled.popitem(last=False)
        return True
