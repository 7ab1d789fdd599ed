"""The customer service window: 24 hours after a person's last word anything may be sent, outside it only templates.

Source: WhatsApp Business Platform, "Sending messages: customer service windows"; error 131047
"""

from tidings.channels.contract import Facts
from tidings.domain.message import MessageError
from tidings.domain.whatsapp_content import WhatsAppContent
from tidings.kit.clock import rfc3339
from tidings.kit.limits import WHATSAPP_WINDOW_S

CODE = "outside_window"
SPEC = "WhatsApp Business Platform, customer service windows"


def refusal(content: WhatsAppContent, facts: Facts) -> MessageError | None:
    """Why this may not be sent now; None if it may."""
    if not content.needs_window:
        return None
    last = facts.last_inbound_ms
    if last is not None and facts.now_ms < last + WHATSAPP_WINDOW_S * 1_000:
        return None
    when = "" if last is None else f" (but at {rfc3339(last)})"
    detail = f"The person has not written to this number within 24 hours{when}: only a template may be sent."
    return MessageError(code=CODE, detail=detail, spec=SPEC)
