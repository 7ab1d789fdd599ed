"""What a test needs on the server: a project of its own with a key, a webhook, its carrier. All of it goes afterwards.

The project keeps the test out of everybody's data: its messages reach no customer's webhook and no list of theirs. It is
made once (`tidings-loadtest`) and used again. Where the key may not make projects, the test runs in the key's own.
"""

import asyncio
import contextlib
from time import monotonic
from typing import Any, Final, Protocol

from tidings.loadtest.callbacks import SENT, TYPES
from tidings_client import ApiError, AsyncTidings, TidingsError

PROJECT: Final = "tidings-loadtest"
_BIND_S: Final = 15.0


class StageError(Exception):
    """The server is not as the test needs it; nothing was sent. The text says what to do."""


class Carrier(Protocol):
    """The far side that a test brings along: a carrier with a log of what it was given."""

    rate_per_s: float

    async def start(self) -> None:
        """Listens."""
        ...

    async def stop(self) -> None:
        """Closes."""
        ...

    def provider(self) -> tuple[str, dict[str, Any]]:
        """The type and the configuration of the provider that leads to it."""
        ...


class Stage:
    """Sets up with `key`, and takes down. `client` and `key` then are those of the test's project."""

    def __init__(self, url: str, key: str, run: str) -> None:
        self.url, self.key, self.run = url, key, run
        self.notes: list[str] = []
        self._outer = AsyncTidings(key, url)
        self.client = self._outer
        self._made: list[tuple[str, str]] = []

    async def enter(self, *, own_project: bool) -> None:
        """Looks whether the server is ready, and moves into the project. Raises TidingsError."""
        await self._outer.health()
        if not own_project:
            return
        try:
            project = await self._project()
            made = await self._outer.keys.create(
                name=f"{PROJECT} {self.run}", scopes=["*"], mode="live", project=project
            )
        except ApiError as error:
            if error.status not in (403, 404, 422):
                raise
            self.notes.append(f"runs in the key's own project: it may not make another ({error.code})")
            return
        self._made.append(("key", made.id))
        self.key = made.key or ""
        self.client = AsyncTidings(self.key, self.url)

    async def add_provider(self, carrier: Carrier) -> str:
        """Declares our carrier and proves that messages will go there, and nowhere else. Raises StageError."""
        name = f"loadtest-{self.run}"
        kind, config = carrier.provider()
        await self.client.providers.create(name=name, type=kind, config=config)
        self._made.append(("provider", name))
        end_s = monotonic() + _BIND_S
        while (found := await self.client.providers.get(name)).status != "up":
            if monotonic() > end_s:
                errors = "; ".join(link.last_error for link in found.links if link.last_error)
                raise StageError(
                    f"the server did not reach our carrier within {_BIND_S:.0f} s: {errors or found.status}"
                )
            await asyncio.sleep(0.05)
        return name

    async def prove_route(self, to: str, name: str) -> None:
        """A preview must lead to provider `name`. Raises StageError."""
        seen = await self.client.messages.preview(to=to, text="where does this go?")
        route: Any = seen.get("route")
        chosen = route.get("provider") if isinstance(route, dict) else route  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if chosen != name:
            raise StageError(
                f"messages would go to the provider {chosen!r}, not to the test's own: use a key that may make a project,"
                " or --no-sandbox to test that carrier"
            )

    async def add_webhook(self, url: str, *, sent: bool) -> str | None:
        """An endpoint for final events; its secret, or None where the server may not call that address."""
        types = [*TYPES, SENT] if sent else list(TYPES)
        try:
            made = await self.client.webhooks.create(url=url, types=types, description=f"tidings loadtest {self.run}")
        except ApiError as error:
            if error.status != 422:
                raise
            return None
        self._made.append(("webhook", made.id))
        return made.secret

    async def status_of(self, message_id: str) -> str:
        """What the server says of a message."""
        return (await self.client.messages.get(message_id)).status

    async def was_unknown(self, message_id: str) -> bool:
        """Whether an attempt of it had no answer: then a second submit is as documented."""
        return "attempt.unknown" in [event.type async for event in self.client.messages.events(message_id)]

    async def leave(self) -> list[str]:
        """Takes everything down, newest first; what could not be taken down."""
        left: list[str] = []
        for kind, name in reversed(self._made):
            try:
                await self._remove(kind, name)
            except TidingsError as error:
                left.append(f"{kind} {name} is still there: {error}")
        self._made.clear()
        if self.client is not self._outer:
            with contextlib.suppress(TidingsError):
                await self.client.close()
        await self._outer.close()
        return left

    async def _remove(self, kind: str, name: str) -> None:
        if kind == "webhook":
            await self.client.webhooks.delete(name)
        elif kind == "provider":
            await self.client.providers.delete(name)
        else:
            await self.client.keys.revoke(name)  # by itself: a key of another project is not to be seen

    async def _project(self) -> str:
        async for project in self._outer.projects.list():
            if project.name == PROJECT:
                return project.id
        return (await self._outer.projects.create(name=PROJECT)).id
