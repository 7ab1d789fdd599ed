"""`/v1/receipts`: what carriers reported that matches no message. Matched receipts are in the message's timeline."""

from typing import Literal

import msgspec
from litestar import Response, Router

from tidings.http import paging
from tidings.http.route import Call, answer, query_of, route, services
from tidings.http.v1.messages import Cursor, Limit
from tidings.http.views import ReceiptView, receipt_view
from tidings.kit.limits import PAGE_DEFAULT


class ReceiptQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Only unmatched receipts are kept as such: `matched` can only be `false`."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None
    matched: Literal["false"] = "false"


class ReceiptPage(msgspec.Struct, frozen=True, kw_only=True):
    """Unmatched receipts, newest first."""

    data: list[ReceiptView]
    next_cursor: str | None


@route(
    "GET", "/v1/receipts", scope="receipts:read", summary="List unmatched receipts", query=ReceiptQuery,
    answers={200: ReceiptPage},
    description="Those of the project's own providers; a live `*` key of the first project sees those of shared ones too.",
)  # fmt: skip
async def list_receipts(request: Call) -> Response[bytes]:
    """One page. A receipt of a shared provider has no project: only the operator may see it."""
    asked = query_of(request, ReceiptQuery)
    project, before = None if request.auth.platform else request.auth.project, paging.decode_number(asked.cursor)
    found = await services(request).store.lists.receipts(project, before, asked.limit + 1)
    return answer(paging.page([receipt_view(item) for item in found], asked.limit, [str(item.id) for item in found]))


router = Router("/", route_handlers=[list_receipts])
