"""By what a person is found again: the keyed hash of an address, the same for every way of writing it.

Who asked not to be written to is stopped by it, so a second spelling that reaches the same telephone, browser or mailbox
must give the same hash.
"""

from typing import Final

from tidings.domain.email import mailbox
from tidings.domain.phone import one_person
from tidings.domain.push import endpoint_of, is_subscription
from tidings.kit.secrets import KeyRing

#: Shorter ones are short codes and the like, which belong to one country's network and to no country code.
_DIGITS_LEAST: Final = 8


def address_key(ring: KeyRing, address: str) -> str:
    """The hash by which an address is stored and looked up, whatever its channel."""
    return ring.lookup(one_spelling(address))


def one_spelling(address: str) -> str:
    """The spelling that stands for all; upper and lower case, and the plus of a number, are left to `KeyRing.lookup`.

    A number without its national prefix, in the digits of today; an email address with its domain in ASCII (IDNA); of a
    Web Push subscription the endpoint alone. Anything else is as it is. Never raises.
    """
    if address.startswith("+"):
        return one_person(address)
    if "@" in address and not address.isascii():
        return _in_ascii(address)
    if is_subscription(address):
        return endpoint_of(address) or address
    if len(address) >= _DIGITS_LEAST and address.isascii() and address.isdigit():
        return one_person("+" + address)
    return address


def _in_ascii(address: str) -> str:
    try:
        return mailbox(address).address
    except ValueError:
        return address
