"""When a carrier wants to be asked again."""

from tidings.kit.outbound import Reply


def retry_after_s(reply: Reply, most_s: float = 3_600.0) -> float | None:
    """`Retry-After` in seconds, `most_s` at most; None without one, or where it is a date. Source: RFC 9110 §10.2.3"""
    text = reply.headers.get("retry-after", "").strip()
    return min(float(text), most_s) if text.isascii() and text.isdigit() and len(text) <= 9 else None
