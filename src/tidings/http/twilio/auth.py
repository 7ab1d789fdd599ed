"""Who calls: HTTP basic with an Account SID or API key SID as user, and one of our API keys as password."""

import base64
import binascii
import hmac
from typing import Final

from tidings.domain.errors import Unauthenticated
from tidings.domain.twilio import account_sid, key_sid
from tidings.http.auth import Caller, Keys
from tidings.http.route import Call, header_of
from tidings.http.twilio.errors import not_found, unauthenticated

_BASIC: Final = b"basic "


async def enter(request: Call, account: str, scope: str) -> Caller:
    """The caller, who has this scope and whose account it is. Raises TwilioError 20003, 20404, Forbidden, Overloaded."""
    user, password = _credentials(header_of(request.scope, b"authorization"))
    keys: Keys = request.app.state.api_keys
    try:
        caller = await keys.caller(b"Bearer " + password)
    except Unauthenticated as error:
        raise unauthenticated() from error
    own = account_sid(caller.project)
    if not any(hmac.compare_digest(user, sid.encode()) for sid in (own, key_sid(caller.key_id))):
        raise unauthenticated()
    request.scope["auth"] = caller
    if account != own:
        raise not_found(request.scope["path"])
    caller.require(scope)
    caller.bucket.take()
    return caller


def _credentials(header: bytes | None) -> tuple[bytes, bytes]:
    """(user, password) of RFC 7617."""
    if header is None or header[:6].lower() != _BASIC:
        raise unauthenticated()
    try:
        user, colon, password = base64.b64decode(header[6:].strip(), validate=True).partition(b":")
    except binascii.Error as error:
        raise unauthenticated() from error
    if not colon:
        raise unauthenticated()
    return user, password
