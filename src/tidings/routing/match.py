"""Which routes fit a message, first the one that decides. Pure."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import phonenumbers

from tidings.domain.message import Message
from tidings.routing.route import Route

NO_ROUTE: Final = -1


class Placed(NamedTuple):
    """A route and the project that made it; '' for all projects."""

    project: str
    route: Route


class _Entry(NamedTuple):
    """One way to a route: by one of its destinations, or by none. Sorts as routes decide."""

    shared: bool
    priority: int
    shortness: int  # of the destination: minus twice its digits
    name: str
    place: int


class Book:
    """Routes by destination. A look walks the prefixes of one address, whatever the number of routes."""

    def __init__(self, routes: Sequence[Placed]) -> None:
        self._routes = [placed.route for placed in routes]
        self._by_project: dict[str, dict[str, list[_Entry]]] = {}
        self._countries = False
        self._lengths = sorted({len(word) for _, route in routes for word in route.to if word.startswith("+")})
        for place, (project, route) in enumerate(routes):
            index = self._by_project.setdefault(project, {})
            for word in route.to or [""]:
                self._countries |= word[:1].isalpha()
                entry = _Entry(not project, route.priority, -_length(word), route.name, place)
                index.setdefault(word, []).append(entry)
        for index in self._by_project.values():
            for entries in index.values():
                entries.sort()

    def __bool__(self) -> bool:
        return bool(self._routes)

    def route(self, place: int) -> Route | None:
        """The one at this place; None for NO_ROUTE."""
        return None if place == NO_ROUTE else self._routes[place]

    def fitting(self, message: Message) -> Sequence[int]:
        """The places of the routes that fit, best first, and NO_ROUTE behind them."""
        entries: list[_Entry] = []
        for project in ("", message.project):
            index = self._by_project.get(project)
            if index is not None:
                for word in self._words(message):
                    entries += [entry for entry in index.get(word, ()) if _fits(self._routes[entry.place], message)]
        entries.sort()
        return [*dict.fromkeys(entry.place for entry in entries), NO_ROUTE]

    def _words(self, message: Message) -> Iterator[str]:
        to = message.personal.to
        yield ""
        if to.startswith("+"):
            for length in self._lengths:
                if length <= len(to):
                    yield to[:length]
            if self._countries:
                yield from regions(to)
        elif "@" in to:
            yield to[to.rindex("@") :].lower()


def _length(word: str) -> int:
    """A country is more than its calling code, and less than one digit more."""
    if word[:1].isalpha():
        return 2 * len(str(phonenumbers.country_code_for_region(word))) + 3
    return 2 * len(word)


def _fits(route: Route, message: Message) -> bool:
    return (
        (not route.channels or message.channel in route.channels)
        and (not route.lanes or message.lane in route.lanes)
        and (not route.senders or message.personal.sender in route.senders)
        and (not route.tags or not set(route.tags).isdisjoint(message.tags))
    )


@lru_cache(maxsize=65_536)
def regions(number: str) -> tuple[str, ...]:
    """The country of a number, if there is one."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return ()
    region = phonenumbers.region_code_for_number(parsed)
    if region is None:  # not a number that is in use: the main country of its code
        region = phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    return (region,) if region not in (None, "ZZ", "001") else ()
