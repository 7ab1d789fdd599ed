"""What a mail server's refusal means: its code and enhanced status code as codes of ours.

Source: RFC 5321 §4.2.2–4.2.3; RFC 3463 §3; the IANA registry "SMTP Enhanced Status Codes" (RFC 5248, 7372, 7504, 7505, 8689)
"""

from typing import Final, Literal

import msgspec

SPEC: Final = "RFC 3463"
Stage = Literal["MAIL", "RCPT", "DATA", "mail"]


class Meaning(msgspec.Struct, frozen=True):
    """A code of ours, what it says, and whether the address is dead (nothing will ever arrive there)."""

    code: str
    detail: str
    dead: bool = False


_NO_MAILBOX: Final = Meaning("invalid_recipient", "There is no such mailbox.", dead=True)
_NO_DOMAIN: Final = Meaning("invalid_recipient", "The recipient's domain takes no mail.", dead=True)
_FULL: Final = Meaning("mailbox_full", "The recipient's mailbox is full.")
_LARGE: Final = Meaning("message_too_large", "The mail is larger than the recipient's mail system takes.")
_SENDER: Final = Meaning("invalid_sender", "The sender's address is not accepted.")
_POLICY: Final = Meaning("rejected_by_policy", "The recipient's mail system rejects the mail by its policy.")
_UNSIGNED: Final = Meaning("sender_unauthenticated", "SPF, DKIM or DMARC did not pass: check the sender's DNS records.")
_BUSY: Final = Meaning("carrier_busy", "The mail system does not take the mail now.")
_LOST: Final = Meaning("unreachable", "The recipient's mail system cannot be reached.")
_CONTENT: Final = Meaning("rejected_content", "The mail's content is not accepted.")
_UTF8: Final = Meaning("unsupported_address", "The mail system does not take internationalised addresses.")
_REFUSED: Final = Meaning("refused", "The mail system refuses the mail.")

#: Subject and detail of an enhanced status code; a subject alone stands for all its details.
_BY_STATUS: Final[dict[str, Meaning]] = {
    "1": _NO_MAILBOX, "1.1": _NO_MAILBOX, "1.2": _NO_DOMAIN, "1.3": _NO_MAILBOX, "1.4": _NO_MAILBOX, "1.6": _NO_MAILBOX,
    "1.7": _SENDER, "1.8": _SENDER, "1.10": _NO_DOMAIN,
    "2": Meaning("refused", "The mailbox does not take the mail."),
    "2.1": Meaning("invalid_recipient", "The mailbox is closed.", dead=True), "2.2": _FULL, "2.3": _LARGE,
    "3": _BUSY, "3.4": _LARGE, "3.6": _FULL,
    "4": _LOST, "4.5": _BUSY, "4.6": Meaning("routing_loop", "The mail went round in a circle."),
    "5": _REFUSED, "5.3": Meaning("carrier_busy", "The mail system takes fewer recipients at once."),
    "6": _CONTENT, "6.7": _UTF8, "6.8": _UTF8, "6.9": _UTF8,
    "7": _POLICY, "7.8": Meaning("bad_credentials", "The mail system refuses the login."),
    "7.20": _UNSIGNED, "7.21": _UNSIGNED, "7.22": _UNSIGNED, "7.23": _UNSIGNED, "7.24": _UNSIGNED, "7.25": _UNSIGNED,
    "7.26": _UNSIGNED, "7.27": _SENDER, "7.9": Meaning("bad_credentials", "The mail system wants another way to log in."),
    "7.30": Meaning("tls_required", "The recipient's mail system cannot be reached over TLS."),
}  # fmt: skip
#: Without an enhanced status code.
_BY_CODE: Final[dict[int, Meaning]] = {
    552: _FULL, 452: _FULL, 450: _BUSY, 451: _BUSY, 421: _BUSY, 521: _NO_DOMAIN, 556: _NO_DOMAIN, 555: _REFUSED,
}  # fmt: skip
#: A server that says one of these wants less, not never.
_THROTTLES: Final = frozenset({"4.7.28", "4.4.5", "4.3.2", "4.2.1"})


def meaning(code: int, enhanced: str, stage: Stage) -> Meaning:
    """What a refusal at this stage of a mail means."""
    subject, _, detail = enhanced[2:].partition(".")
    found = _BY_STATUS.get(f"{subject}.{detail}") or _BY_STATUS.get(subject) if enhanced else _BY_CODE.get(code)
    if found is not None and not (found is _FULL and code == 552 and not enhanced and stage != "RCPT"):
        return found
    if code == 552:
        return _LARGE
    if code // 100 == 4:
        return _BUSY
    if stage == "RCPT":  # not certain to be dead: many say 550 for whatever they do not like
        return Meaning("invalid_recipient", "The recipient is refused.")
    return _SENDER if stage == "MAIL" else _REFUSED


def dead(enhanced: str) -> bool:
    """Whether a failure with this status says that the address is dead. A bounce that does not say counts as that."""
    if not enhanced or enhanced.startswith("5.0."):
        return True
    return enhanced.startswith("5.") and meaning(550, enhanced, "RCPT").dead


def throttles(code: int, enhanced: str) -> bool:
    """Whether the server asks us to come slower rather than later. Source: RFC 5321 §3.8 (421)"""
    return code == 421 or enhanced in _THROTTLES
