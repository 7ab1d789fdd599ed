"""What the HTTP layer is given: everything behind the routes, handed over by the composition root (`service.py`)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidings.bus.contract import Bus
from tidings.channels.callback import CallbackTaker
from tidings.delivery.accept import Accepted, Want
from tidings.delivery.acks import Acks
from tidings.domain.attempt import CarrierReceipt, InboundPart
from tidings.domain.errors import RequestError
from tidings.domain.message import Mode
from tidings.domain.request import SendRequest
from tidings.domain.view import StoredMessage
from tidings.kit.clock import Clock, wall_ms
from tidings.kit.secrets import KeyRing
from tidings.routing.route import Route
from tidings.store.accounts import Claim
from tidings.store.store import Store
from tidings.verify.service import VerifyService
from tidings.webhooks.service import WebhookService


class Accepting(Protocol):
    """The one way in (`delivery.accept.Acceptor`)."""

    async def accept(self, project: str, mode: Mode, wants: list[Want]) -> list[Accepted | RequestError]:
        """Durable when it returns. Raises Overloaded before anything is queued."""
        ...


class Control(Protocol):
    """What can be done with a message beside sending it (`delivery.control.Control`). Raises NotFound, Conflict."""

    async def cancel(self, project: str, message: str) -> StoredMessage:
        """Ends a message that is not yet on its way; one that is canceled stays so."""
        ...

    async def retry_request(self, project: str, message: str) -> tuple[SendRequest, Mode]:
        """The request for a new message like one that ended badly, and the mode it was sent in."""
        ...

    async def preview(self, project: str, mode: Mode, request: SendRequest) -> dict[str, Any]:
        """What would be sent; sends nothing."""
        ...


class ProviderAdmin(Protocol):
    """Providers as an operator sees them; views hold `id, name, type, status, links, config (redacted), origin`.

    Raises NotFound, Conflict (a name that is taken; one declared in `tidings.toml` or built in), InvalidRequest.
    """

    async def list(self, project: str) -> list[dict[str, Any]]:
        """All providers that this project may use, in a stable order."""
        ...

    async def get(self, project: str, id: str) -> dict[str, Any]:
        """One provider, by id or by name."""
        ...

    async def create(self, project: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Declares and starts one; `spec` is `{"name", "type", …the type's own keys}`."""
        ...

    async def delete(self, project: str, id: str) -> None:
        """Drains and forgets it."""
        ...

    async def pause(self, project: str, id: str) -> dict[str, Any]:
        """Hands it nothing more until `resume`."""
        ...

    async def resume(self, project: str, id: str) -> dict[str, Any]:
        """Hands messages to it again."""
        ...


class RouteAdmin(Protocol):
    """Routes (`delivery.routes.RouteAdmin`). Raises NotFound, Conflict (a name that is taken; one declared in
    `tidings.toml`), InvalidRequest."""

    async def list(self, project: str) -> Sequence[dict[str, Any]]:
        """All that may decide for this project's messages, in a stable order."""
        ...

    async def get(self, project: str, id: str) -> dict[str, Any]:
        """One route, by id or by name."""
        ...

    async def create(self, project: str, route: Route, claim: Claim | None, id: str) -> tuple[dict[str, Any], bool]:
        """Makes one under this id; whether an earlier request did."""
        ...

    async def change(self, project: str, id: str, route: Route) -> dict[str, Any]:
        """Puts this one in its place."""
        ...

    async def delete(self, project: str, id: str) -> None:
        """Removes it."""
        ...


class CallbackDesk(Protocol):
    """Where carriers' callbacks go (`delivery.node.Node`)."""

    def taker(self, provider: str) -> CallbackTaker | None:
        """Who verifies and reads them; None if there is no such provider, or its carrier does not call."""
        ...

    async def received(self, provider: str, receipts: Sequence[CarrierReceipt], inbound: Sequence[InboundPart]) -> None:
        """Returns after the commit."""
        ...


async def _ready() -> list[str]:
    return []


def _no_gauges() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Everything behind the routes. `unready` gives reasons against traffic."""

    store: Store
    ring: KeyRing
    bus: Bus
    acceptor: Accepting
    control: Control
    providers: ProviderAdmin
    routes: RouteAdmin
    webhooks: WebhookService
    verify: VerifyService
    callbacks: CallbackDesk | None = None
    acks: Acks | None = None
    unready: Callable[[], Awaitable[list[str]]] = _ready
    gauges: Callable[[], Mapping[str, float]] = _no_gauges
    now: Clock = field(default=wall_ms)
