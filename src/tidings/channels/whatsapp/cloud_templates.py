"""Which templates Meta has approved: read from the account again and again, and told by callbacks in between.

Source: WhatsApp Cloud API v23.0, `GET /{WABA-ID}/message_templates`; webhook `message_template_status_update`
"""

import re
from typing import Any, Final, cast
from urllib.parse import quote

import msgspec

from tidings.channels.errands import TemplateStatus
from tidings.channels.whatsapp import cloud_errors
from tidings.channels.whatsapp.cloud_config import Config
from tidings.channels.whatsapp.graph import Graph
from tidings.domain.message import MessageError
from tidings.domain.whatsapp_template import Template
from tidings.kit.limits import WHATSAPP_TEMPLATES

APPROVED: Final = "APPROVED"
_PAGE: Final = 100
_PLACE: Final = re.compile(r"\{\{\s*([a-z0-9_]+)\s*\}\}")
#: Meta's status → our code and what a person should know.
_REFUSALS: Final[dict[str, tuple[str, str]]] = {
    "PAUSED": ("template_paused", "is paused for its low quality"),
    "DISABLED": ("template_disabled", "is disabled for good"),
    "REJECTED": ("template_not_approved", "was rejected by Meta"),
    "PENDING": ("template_not_approved", "is still being reviewed by Meta"),
    "IN_APPEAL": ("template_not_approved", "was rejected by Meta; the appeal is open"),
    "PENDING_DELETION": ("template_not_approved", "is being deleted"),
    "DELETED": ("template_not_approved", "was deleted"),
    "LIMIT_EXCEEDED": ("template_not_approved", "was one too many for the account"),
    "ARCHIVED": ("template_not_approved", "is archived"),
}


class Catalogue:
    """The templates of one account, by name and language. Pure."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], TemplateStatus] = {}

    def replace(self, found: list[TemplateStatus]) -> None:
        """These are all there are."""
        self._known = {(item.name, item.language): item for item in found}

    def tell(self, name: str, language: str, status: str) -> None:
        """One has another status now. What nobody has heard of is read with the next sync."""
        known = self._known.get((name, language))
        if known is not None:
            self._known[name, language] = msgspec.structs.replace(known, status=status)

    def knows(self, template: Template) -> bool:
        """Whether it has been heard of."""
        return (template.name, template.language) in self._known

    def all(self) -> list[TemplateStatus]:
        """By name and language."""
        return [self._known[key] for key in sorted(self._known)]

    def refusal(self, template: Template) -> MessageError | None:
        """Why it may not be sent. One that nobody has heard of may be new: Meta knows."""
        known = self._known.get((template.name, template.language))
        if known is None:
            return None
        if known.status != APPROVED and known.status in _REFUSALS:
            code, what = _REFUSALS[known.status]
            return _error(code, f"The template {known.name!r} ({known.language}) {what}.", known.status)
        given = next((len(part.parameters) for part in template.components if part.type == "body"), 0)
        if known.places is not None and known.places != given:
            detail = (
                f"The body of template {known.name!r} ({known.language}) has {known.places} places; {given} are filled."
            )
            return _error("template_parameters", detail, known.status)
        return None


async def fetch(config: Config) -> list[TemplateStatus]:
    """All templates of the account. Raises ErrandFailed."""
    found: list[TemplateStatus] = []
    base = config.url(config.business_account_id, "message_templates")
    base += f"?fields=name,language,status,category,components&limit={_PAGE}"
    url = base
    async with Graph(config) as graph:
        while len(found) < WHATSAPP_TEMPLATES:
            page = await graph.json("GET", url)
            items = page.get("data")
            found += [made for item in cast("list[object]", items or []) if (made := _known(_object(item))) is not None]
            paging = _object(page.get("paging"))
            after = _object(paging.get("cursors")).get("after")
            if not paging.get("next") or not isinstance(after, str):
                break
            url = f"{base}&after={quote(after, safe='')}"
    return found[:WHATSAPP_TEMPLATES]


def _known(item: dict[str, Any]) -> TemplateStatus | None:
    name, language, status, category = (item.get(key) for key in ("name", "language", "status", "category"))
    if not (isinstance(name, str) and isinstance(language, str) and isinstance(status, str)):
        return None
    parts = item.get("components")
    bodies = [part for part in map(_object, cast("list[object]", parts or [])) if part.get("type") == "BODY"]
    text = bodies[0].get("text") if bodies else None
    return TemplateStatus(
        name=name, language=language, status=status.upper(), category=str(category or ""),
        places=len(set(_PLACE.findall(text))) if isinstance(text, str) and category != "AUTHENTICATION" else None,
    )  # fmt: skip


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _error(code: str, detail: str, status: str) -> MessageError:
    return MessageError(code=code, detail=detail, provider_code=status, spec=cloud_errors.SPEC)
