"""Tidings from Python: `Tidings` (sync), `AsyncTidings` (async), `verify_webhook`."""

from typing import TYPE_CHECKING

from tidings_client.core import Policy
from tidings_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    ConnectionFailed,
    FieldError,
    Forbidden,
    NotFound,
    RateLimited,
    ServerError,
    TidingsError,
    Unauthorized,
    UnexpectedAnswer,
    WebhookVerificationError,
)
from tidings_client.models import (
    AllowedPrefix,
    Attempt,
    Batch,
    BatchItem,
    Check,
    Delivery,
    Engagement,
    Event,
    Health,
    Inbound,
    Key,
    Link,
    Media,
    Message,
    Page,
    Problem,
    Project,
    Provider,
    Receipt,
    Replay,
    Route,
    RouteTarget,
    Suppression,
    Template,
    Verification,
    VerificationStats,
    WebhookEndpoint,
)
from tidings_client.sync import Tidings
from tidings_client.webhook import verify_webhook

if TYPE_CHECKING:
    from tidings_client.aio import AsyncTidings


def __getattr__(name: str) -> object:
    """`AsyncTidings` is imported when it is asked for: aiohttp costs more time than all the rest of a command."""
    if name == "AsyncTidings":
        from tidings_client.aio import AsyncTidings

        return AsyncTidings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AllowedPrefix",
    "ApiError",
    "AsyncTidings",
    "Attempt",
    "BadRequest",
    "Batch",
    "BatchItem",
    "Check",
    "Conflict",
    "ConnectionFailed",
    "Delivery",
    "Engagement",
    "Event",
    "FieldError",
    "Forbidden",
    "Health",
    "Inbound",
    "Key",
    "Link",
    "Media",
    "Message",
    "NotFound",
    "Page",
    "Policy",
    "Problem",
    "Project",
    "Provider",
    "RateLimited",
    "Receipt",
    "Replay",
    "Route",
    "RouteTarget",
    "ServerError",
    "Suppression",
    "Template",
    "Tidings",
    "TidingsError",
    "Unauthorized",
    "UnexpectedAnswer",
    "Verification",
    "VerificationStats",
    "WebhookEndpoint",
    "WebhookVerificationError",
    "verify_webhook",
]
