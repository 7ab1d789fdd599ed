"""Signs requests for Amazon Web Services. Pure.

Source: AWS "Signature Version 4 signing process" (canonical request, string to sign, signing key)
"""

import datetime as dt
import hmac
from hashlib import sha256
from urllib.parse import quote, urlsplit

import msgspec


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """An access key. `token`: of temporary credentials."""

    key_id: str
    secret: str
    token: str = ""


def signed_headers(
    method: str, url: str, headers: dict[str, str], body: bytes, credentials: Credentials, *, region: str, service: str,
    at_s: float,
) -> dict[str, str]:  # fmt: skip
    """`headers` with `X-Amz-Date`, the token where there is one, and `Authorization`. `url` has no query."""
    parts = urlsplit(url)
    when = dt.datetime.fromtimestamp(at_s, dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "X-Amz-Date": when}
    if credentials.token:
        sent["X-Amz-Security-Token"] = credentials.token
    named = {name.lower(): " ".join(value.split()) for name, value in sent.items()} | {"host": parts.netloc}
    names = ";".join(sorted(named))
    lines = "".join(f"{name}:{named[name]}\n" for name in sorted(named))
    path = quote(parts.path or "/", safe="/~-._")
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
    scope = f"{when[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), sha256)
    made = hmac.new(key, text.encode(), sha256).hexdigest()
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={made}"
    )
    return sent
