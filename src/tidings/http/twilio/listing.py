"""The list of messages: sent and received in one, newest first, with Twilio's pages."""

import datetime as dt
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from tidings.domain.address import address_key, one_spelling
from tidings.domain.twilio import digits_of
from tidings.domain.view import StoredMessage
from tidings.http.services import Services
from tidings.http.twilio import params
from tidings.http.twilio.errors import unsupported
from tidings.http.twilio.views import account_uri, received_view, sent_view
from tidings.store.lists import MessageFilter, StoredInbound

PAGE_SIZE: Final = 50
PAGE_SIZE_MAX: Final = 1_000
_DAY_MS: Final = 86_400_000
RECEIVED: Final = "msg"  # a received message has an id like one that was sent


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to list. `since_ms` is part of it, `until_ms` is not; `token` is where the page before ended."""

    size: int
    page: int
    token: str | None
    to: str | None
    sender: str | None
    since_ms: int | None
    until_ms: int | None


def read(query: bytes) -> Asked:
    """Raises TwilioError for what is not taken."""
    given = params.read_query(query)
    params.only(given, params.LIST)
    token = given.get("PageToken")
    if token is not None and digits_of(token, "PA") is None:
        raise unsupported("PageToken", "is not one that this list gave")
    page = _number(given, "Page", 0, 0, 10**9)
    if page and token is None:
        raise unsupported("Page", "goes with PageToken; follow next_page_uri")
    since, until = _dates(given)
    return Asked(
        size=_number(given, "PageSize", PAGE_SIZE, 1, PAGE_SIZE_MAX), page=page,
        token=digits_of(token, "PA") if token else None, to=given.get("To"), sender=given.get("From"),
        since_ms=since, until_ms=until,
    )  # fmt: skip


def _number(given: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise unsupported(name, f"must be a number from {least} to {most}")
    return int(text)


def _dates(given: dict[str, str]) -> tuple[int | None, int | None]:
    """(since, until): `DateSent` is a whole day of GMT, `DateSent>` at or after, `DateSent<` at or before."""
    since = until = None
    if "DateSent" in given:
        day = _ms("DateSent", given["DateSent"]) // _DAY_MS * _DAY_MS
        since, until = day, day + _DAY_MS
    if "DateSent>" in given:
        since = max(since or 0, _ms("DateSent>", given["DateSent>"]))
    if "DateSent<" in given:
        last = _ms("DateSent<", given["DateSent<"]) + 1
        until = last if until is None else min(until, last)
    return since, until


def _ms(name: str, text: str) -> int:
    at = params.read_time(name, text)
    return int((at - dt.datetime.fromtimestamp(0, dt.UTC)).total_seconds() * 1000)


async def page(back: Services, project: str, asked: Asked) -> dict[str, Any]:
    """One page. A filter that matches little gives short pages: go on while there is a `next_page_uri`."""
    before = asked.token
    sent, last = await back.store.lists.messages(back.ring, MessageFilter(
        project=project, limit=asked.size, before=f"msg_{before}" if before else None,
        to_hash=address_key(back.ring, asked.to) if asked.to else None,
    ))  # fmt: skip
    received = await back.store.lists.inbound(
        back.ring, project, f"{RECEIVED}_{before}" if before else None, asked.size + 1
    )
    both: list[StoredMessage | StoredInbound] = [*sent, *received]
    both.sort(key=_digits, reverse=True)
    more = last is not None or len(both) > asked.size
    shown = both[: asked.size]
    views = [_view(project, item) for item in shown if _wanted(asked, item)]
    return _page(project, asked, views, _digits(shown[-1]) if more and shown else None)


def _digits(item: StoredMessage | StoredInbound) -> str:
    return (item.id if isinstance(item, StoredInbound) else item.message.id).partition("_")[2]


def _view(project: str, item: StoredMessage | StoredInbound) -> dict[str, Any]:
    return received_view(project, item) if isinstance(item, StoredInbound) else sent_view(item)


def _wanted(asked: Asked, item: StoredMessage | StoredInbound) -> bool:
    if isinstance(item, StoredInbound):
        to, sender, at = item.to, item.sender, item.received_ms
    else:
        to, sender, at = item.message.personal.to, item.message.personal.sender, item.sent_ms
    if asked.to is not None and one_spelling(to) != one_spelling(asked.to):
        return False
    if asked.sender is not None and sender != asked.sender:
        return False
    if at is None:
        return asked.since_ms is None and asked.until_ms is None
    return (asked.since_ms is None or at >= asked.since_ms) and (asked.until_ms is None or at < asked.until_ms)


def _page(project: str, asked: Asked, views: list[dict[str, Any]], last: str | None) -> dict[str, Any]:
    def uri(number: int, token: str | None) -> str:
        query: dict[str, str] = {"PageSize": str(asked.size), "Page": str(number)}
        if asked.to is not None:
            query["To"] = asked.to
        if asked.sender is not None:
            query["From"] = asked.sender
        for name, ms in (("DateSent>", asked.since_ms), ("DateSent<", asked.until_ms)):
            if ms is not None:
                at = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms - (name == "DateSent<"))
                query[name] = at.isoformat().replace("+00:00", "Z")
        if token is not None:
            query["PageToken"] = f"PA{token}"
        return f"{account_uri(project)}/Messages.json?{urlencode(query)}"

    start = asked.page * asked.size
    return {
        "messages": views, "page": asked.page, "page_size": asked.size, "start": start,
        "end": start + max(len(views) - 1, 0), "uri": uri(asked.page, asked.token), "first_page_uri": uri(0, None),
        "next_page_uri": uri(asked.page + 1, last) if last else None, "previous_page_uri": None,
    }  # fmt: skip
