"""Structured logs: one JSON object a line on stderr. Secrets, addresses and content never reach it."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, cast

import structlog

_HIDDEN: Final = "[redacted]"
#: Names whose values are never written.
_NAMES: Final = re.compile(
    r"password|secret|token|authorization|api_?key|credential|cookie|sealed|(?:^|_)(?:to|from|text|body|content|address|phone|email"
    r"|sender|recipient|short_message|data|metadata)$",
    re.IGNORECASE,
)
#: What gives a secret or an address away inside other text.
_TEXT: Final = (
    (re.compile(r"tk_(live|test)_\w+"), r"tk_\1_" + _HIDDEN),
    (re.compile(r"whsec_[\w+/=-]+"), "whsec_" + _HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 " + _HIDDEN),
    (re.compile(r"(?i)\b(password|passwd|secret)(['\"]?\s*[=:]\s*['\"]?)[^\s,;&'\"]+"), r"\1\2" + _HIDDEN),
    (re.compile(r"(?<![\w.:-])\+?[1-9]\d{7,14}(?![\w.:-])"), _HIDDEN),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), _HIDDEN),
)
_OURS: Final = frozenset({"event", "level", "timestamp", "logger", "request_id"})


def scrub(text: str) -> str:
    """`text` without API keys, signing secrets, passwords, phone numbers and email addresses."""
    for pattern, instead in _TEXT:
        text = pattern.sub(instead, text)
    return text


def redact(value: Any, name: str = "") -> Any:
    """The value as it may be logged: hidden by its name, or scrubbed."""
    if name and name not in _OURS and _NAMES.search(name):
        return _HIDDEN
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {key: redact(inner, str(key)) for key, inner in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [redact(inner) for inner in cast("list[Any]", value)]
    return value


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value, key) for key, value in event.items()}


def _processors() -> list[Any]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.format_exc_info,
        _redact_event,
    ]


def configure(level: str = "INFO", stream: Any = None) -> None:
    """Sends structlog and the standard library's loggers through the redaction, as JSON lines."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_processors(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
