"""A route: which providers carry what, in which shares and at what cost. Pure."""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from tidings.domain.errors import FieldError
from tidings.domain.message import Lane
from tidings.kit.limits import ROUTE_NO_RECEIPT_S, ROUTE_TARGETS, ROUTE_WORDS

Need = Literal["receipts", "reads", "media", "inbound"]
Prefer = Literal["weight", "cost", "order"]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]

_REGIONS: Final = frozenset(
    region for regions in COUNTRY_CODE_TO_REGION_CODE.values() for region in regions if region != "001"
)
_PREFIX: Final = re.compile(r"\+[1-9][0-9]{0,14}")
_DOMAIN: Final = re.compile(r"@[^@\sA-Z\x00-\x1f]{1,253}")


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider of a route. `weight` 0: only where no other one can. `cost_per_part`: in the operator's own currency."""

    provider: Name
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0
    cost_per_part: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """What it is for (an empty list: for everything), and who carries it.

    Of the routes that fit a message the first one decides: by `priority` (lowest first), then by the longest prefix that
    fits, then by name. `to` holds prefixes (`+4477`), countries (`GB`) and mail domains (`@example.com`).
    """

    name: Name
    targets: Annotated[list[Target], Meta(min_length=1, max_length=ROUTE_TARGETS)]
    priority: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    channels: Annotated[list[Annotated[str, Meta(pattern=r"^[a-z]{1,32}$")]], Meta(max_length=32)] = []
    to: Annotated[list[Annotated[str, Meta(min_length=2, max_length=254)]], Meta(max_length=ROUTE_WORDS)] = []
    lanes: list[Lane] = msgspec.field(name="class", default_factory=list[Lane])
    tags: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=ROUTE_WORDS)] = []
    senders: Annotated[list[Annotated[str, Meta(min_length=1, max_length=320)]], Meta(max_length=ROUTE_WORDS)] = (
        msgspec.field(name="from", default_factory=list[str])
    )
    needs: list[Need] = []
    prefer: Prefer = "weight"
    no_receipt_s: Annotated[float, Meta(ge=0, le=ROUTE_NO_RECEIPT_S)] = 0  # 0: a missing receipt changes nothing


def problems(route: Route) -> list[FieldError]:
    """What is wrong beyond the types: every field at once."""
    found = destination_problems(route.to)
    seen: set[str] = set()
    for n, target in enumerate(route.targets):
        if target.provider in seen:
            detail = f"{target.provider!r} is a target of this route already; give it once"
            found.append(FieldError(pointer=f"/targets/{n}/provider", code="repeated", detail=detail))
        seen.add(target.provider)
    if all(target.weight == 0 for target in route.targets) and route.prefer == "weight":
        detail = "at least one target needs a weight of more than 0"
        found.append(FieldError(pointer="/targets", code="no_weight", detail=detail))
    if route.prefer == "cost":
        unpriced = (n for n, target in enumerate(route.targets) if target.cost_per_part is None)
        found += [
            FieldError(pointer=f"/targets/{n}/cost_per_part", code="required", detail='is needed for prefer = "cost"')
            for n in unpriced
        ]
    if 0 < route.no_receipt_s < 1:
        found.append(FieldError(pointer="/no_receipt_s", code="range", detail="must be 0 (never) or at least 1 second"))
    return found


def destination_problems(to: Sequence[str]) -> list[FieldError]:
    """What is wrong with the words of `to`."""
    detail = "must be a prefix such as +4477, a country such as GB, or a mail domain such as @example.com"
    return [
        FieldError(pointer=f"/to/{n}", code="invalid_destination", detail=detail)
        for n, word in enumerate(to)
        if not (_PREFIX.fullmatch(word) or _DOMAIN.fullmatch(word) or word in _REGIONS)
    ]


def missing(route: Route, channels: Sequence[str], providers: Sequence[str]) -> list[FieldError]:
    """Names in it that nobody knows: these channels and providers are known."""
    found = [
        FieldError(pointer=f"/channels/{n}", code="unsupported", detail=f"there is no channel {name!r}")
        for n, name in enumerate(route.channels)
        if name not in channels
    ]
    found += [
        FieldError(pointer=f"/targets/{n}/provider", code="unknown_provider", detail=f"there is no provider {name!r}")
        for n, name in enumerate(target.provider for target in route.targets)
        if name not in providers
    ]
    return found
