"""Tidings from Python: `Tidings` (sync), `AsyncTidings` (async), `verify_webhook`."""

from tidings_client.aio import AsyncTidings
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
    WebhookVerificationError,
)
from tidings_client.models import (
    Attempt,
    Batch,
    BatchItem,
    Delivery,
    Event,
    Inbound,
    Key,
    Message,
    Page,
    Provider,
    Receipt,
    Suppression,
    WebhookEndpoint,
)
from tidings_client.sync import Tidings
from tidings_client.webhook import verify_webhook

__all__ = [
    "ApiError",
    "AsyncTidings",
    "Attempt",
    "BadRequest",
    "Batch",
    "BatchItem",
    "Conflict",
    "ConnectionFailed",
    "Delivery",
    "Event",
    "FieldError",
    "Forbidden",
    "Inbound",
    "Key",
    "Message",
    "NotFound",
    "Page",
    "Policy",
    "Provider",
    "RateLimited",
    "Receipt",
    "ServerError",
    "Suppression",
    "Tidings",
    "TidingsError",
    "Unauthorized",
    "WebhookEndpoint",
    "WebhookVerificationError",
    "verify_webhook",
]
