"""The providers whose mails come back to our own mail server, as they are declared."""

from collections.abc import Iterable

from tidings.channels.contract import ProviderSpec
from tidings.channels.email.compose import key_of
from tidings.channels.email.incoming import MailAccount


def mail_accounts(specs: Iterable[ProviderSpec]) -> tuple[MailAccount, ...]:
    """Of every provider of channel `email` with a `bounce_domain` or a `reply_domain`, and the secret that signs."""
    found: list[MailAccount] = []
    for spec in specs:
        words = [spec.config.get(key) for key in ("mail_secret", "bounce_domain", "reply_domain")]
        secret, bounces, replies = (word if isinstance(word, str) else "" for word in words)
        if spec.type.startswith("email.") and secret and (bounces or replies):
            account = MailAccount(
                provider=spec.name, key=key_of(secret), bounce_domain=bounces.lower(), reply_domain=replies.lower()
            )
            found.append(account)
    return tuple(found)
