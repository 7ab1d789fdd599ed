"""An SMS with `content` (flash, binary) planned by the provider that carries it, or refused by name."""

from typing import cast

from tidings.channels.contract import Provider, SpecialPlanner, TextPlanner
from tidings.domain.sms import SmsContent
from tidings.protocols.gsm.segments import SegmentError, Segments


def plan_content(provider: Provider, text: str, content: SmsContent) -> Segments:
    """How `provider` will encode and cut it. Raises `SegmentError` where it cannot, and what `Provider.plan` raises."""
    able = provider.capabilities
    if content.data is not None:
        if not able.binary:
            raise SegmentError(f"provider {provider.name} cannot send binary messages")
        return cast("SpecialPlanner", provider).plan_binary(content.octets, content.ports)
    if not content.flash:
        return cast("TextPlanner", provider).plan(text)
    if not able.flash:
        raise SegmentError(f"provider {provider.name} cannot send flash messages")
    return cast("SpecialPlanner", provider).plan_flash(text)
