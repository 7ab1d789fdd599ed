"""What an answer means for the part, by the `response` and `codes` tables of its configuration."""

import re
from typing import Final

from tidings.channels.described.compile import Refuse
from tidings.channels.described.config import Config
from tidings.channels.described.pick import Said
from tidings.channels.http.call import Blocked, Doubtful, Judged, Throttled
from tidings.channels.http.retry_after import retry_after_s
from tidings.domain.attempt import PartRefused, PartRetry, PartSent
from tidings.domain.message import MessageError
from tidings.kit.outbound import Reply

_STATUS: Final = re.compile(r"[2-5](?:xx|\d\d)")
_OURS: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CODE_CHARS: Final = 64
SPEC: Final = "the provider's `codes`"


class ResponseReader:
    """Compiled once; `judge` is pure."""

    def __init__(self, name: str, config: Config) -> None:
        """Raises `SettingsError` with the pointer of what cannot be used."""
        refuse, response = Refuse(name), config.response
        kinds = ("json", "xml", "regex", "header")
        self._success = refuse.pick("/response/success", response.success, kinds)
        self._id = refuse.pick("/response/id", response.id, kinds)
        self._error = refuse.pick("/response/error", response.error, kinds)
        self._values = frozenset(response.success_values)
        if (self._success is None) != (not self._values):
            raise refuse.error("/response/success_values", "goes with `success`: where to look, and what to find there")
        for n, text in enumerate(response.ok_status):
            if not _STATUS.fullmatch(text):
                raise refuse.error(f"/response/ok_status/{n}", "must be a status or a class of them: 200, 2xx")
        self._ok = response.ok_status
        self._other = config.codes.other
        self._permanent = config.codes.permanent
        self._meanings: dict[str, str] = {}
        for meaning in ("retryable", "throttled", "account", "unknown", "permanent"):
            for code in getattr(config.codes, meaning):
                if code in self._meanings:
                    raise refuse.error(f"/codes/{meaning}", f"{code!r} is listed as {self._meanings[code]} too")
                self._meanings[code] = meaning
        for code, ours in self._permanent.items():
            if not _OURS.fullmatch(ours):
                raise refuse.error(f"/codes/permanent/{code}", "must be a code of ours, such as invalid_recipient")

    def judge(self, reply: Reply) -> Judged:
        """What the answer means."""
        said = Said(reply.body, reply.headers, {}, {})
        status_ok = str(reply.status) in self._ok or f"{reply.status // 100}xx" in self._ok
        found = self._success.of(said) if self._success is not None else None
        if status_ok and (self._success is None or found in self._values):
            # taken, even if the answer does not say as what: another try would be a second message
            return PartSent((self._id.of(said) or "")[:256] if self._id is not None else "")
        code = self._error.of(said) if self._error is not None else None
        code = code[:_CODE_CHARS] if code else None
        for key in (code, f"http:{reply.status}"):
            if key is not None and key in self._meanings:
                return self._meant(self._meanings[key], key, reply)
        return self._by_status(reply, code, readable=not status_ok or found is not None)

    def _by_status(self, reply: Reply, code: str | None, *, readable: bool) -> Judged:
        theirs = code or f"http:{reply.status}"
        if reply.status == 429:
            return Throttled(retry_after_s(reply))
        if reply.status >= 500 or reply.status == 408:
            return Doubtful(f"http_{reply.status}")
        if reply.status in (401, 403, 407) or 300 <= reply.status < 400:
            return self._meant("account", theirs, reply)
        if not readable:  # a status of success, and a body that does not say whether
            return Doubtful("unreadable_answer")
        if code is None and reply.status >= 400:
            return self._meant("permanent", theirs, reply)
        return self._meant(self._other, theirs, reply)

    def _meant(self, meaning: str, theirs: str, reply: Reply) -> Judged:
        match meaning:
            case "throttled":
                return Throttled(retry_after_s(reply))
            case "unknown":
                return Doubtful("carrier_unsure")
            case "account":
                return Blocked(_error("bad_credentials", "The carrier refuses the account.", theirs, final=False))
            case "retryable":
                error = _error("carrier_error", "The carrier did not take the message now.", theirs, final=False)
                return PartRetry(error, retry_after_s(reply))
            case _:
                ours = self._permanent.get(theirs, "refused")
                return PartRefused(_error(ours, "The carrier refuses the message.", theirs, final=True))


def _error(code: str, detail: str, theirs: str, *, final: bool) -> MessageError:
    return MessageError(code=code, detail=detail, permanent=final, retryable=not final, provider_code=theirs, spec=SPEC)
