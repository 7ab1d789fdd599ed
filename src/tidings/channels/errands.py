"""What some carriers do beside carrying messages. A provider has these methods where its carrier does."""

from typing import Protocol, runtime_checkable

import msgspec


class ErrandFailed(Exception):
    """It did not work; the text is for a person and holds no secret."""


class TemplateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A template as the carrier has it. `status`: its word; `places`: of the body, None where it does not say."""

    name: str
    language: str
    status: str
    category: str = ""
    places: int | None = None


@runtime_checkable
class TemplateLister(Protocol):
    """A provider whose carrier approves templates."""

    async def templates(self) -> list[TemplateStatus]:
        """All of them, as the carrier has them now. Raises ErrandFailed."""
        ...


@runtime_checkable
class Uploader(Protocol):
    """A provider whose carrier keeps files."""

    def upload_problem(self, media_type: str, size: int) -> str | None:
        """Why the carrier would not take such a file; None if it may."""
        ...

    async def upload(self, media_type: str, data: bytes) -> str:
        """The carrier's id of the file. Raises ErrandFailed."""
        ...


@runtime_checkable
class ReadMarker(Protocol):
    """A provider whose people can be told that their message was read."""

    async def mark_read(self, ref: str) -> None:
        """The message with this id of the carrier's, and all before it. Raises ErrandFailed."""
        ...
