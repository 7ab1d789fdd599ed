"""The keys that every provider of emails has: who a mail is from, what leads back, who signs. Checked once."""

from typing import Any, Final

import msgspec

from tidings.channels.email.compose import Identity, key_of
from tidings.domain.email import mailbox
from tidings.domain.errors import SettingsError
from tidings.protocols.mail.dkim import DkimError, DkimKey, read_key

_SECRET_CHARS: Final = 16


class DkimConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signature. `private_key`: PEM, or an Ed25519 key in base64; usually `env:NAME`."""

    domain: str
    selector: str
    private_key: str


def check_host(name: str, key: str, text: str) -> None:
    """Raises SettingsError unless `text` is a host name in ASCII, or empty."""
    if text:
        try:
            mailbox(f"x@{text}" + ("" if "." in text else ".invalid-"))
        except ValueError:
            raise SettingsError(f"provider {name}: `{key}` must be a host name such as mail.example.com") from None


def identity(
    name: str, *, sender: str, mail_secret: str, bounce_domain: str, reply_domain: str, dkim: tuple[DkimConfig, ...],
    read_receipts: bool = False,
) -> Identity:  # fmt: skip
    """How the provider's mails name themselves. Raises SettingsError that names the key."""
    if sender:
        try:
            mailbox(sender)
        except ValueError as error:
            raise SettingsError(f"provider {name}: `sender` {error}") from None
    check_host(name, "bounce_domain", bounce_domain)
    check_host(name, "reply_domain", reply_domain)
    if (bounce_domain or reply_domain) and len(mail_secret) < _SECRET_CHARS:
        raise SettingsError(
            f"provider {name}: `mail_secret` must have at least {_SECRET_CHARS} characters: it signs what comes to "
            "`bounce_domain` and `reply_domain`"
        )
    if read_receipts and not bounce_domain:
        raise SettingsError(f"provider {name}: `read_receipts` needs `bounce_domain`, where they come to")
    return Identity(
        sender=sender, key=key_of(mail_secret), bounce_domain=bounce_domain.lower(), reply_domain=reply_domain.lower(),
        dkim=tuple(_key(name, n, one) for n, one in enumerate(dkim)), read_receipts=read_receipts,
    )  # fmt: skip


def _key(name: str, n: int, config: DkimConfig) -> DkimKey:
    try:
        return read_key(config.domain, config.selector, config.private_key)
    except DkimError as error:
        raise SettingsError(f"provider {name}: `dkim[{n}]`: {error}") from None


def converted(name: str, raw: dict[str, Any], kind: type[Any]) -> Any:
    """`raw` as the config struct of a provider. Raises SettingsError that names the key."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        said = str(error).replace("`$.", "`").replace(" - at `$`", "")
        raise SettingsError(f"provider {name}: {said}") from None
