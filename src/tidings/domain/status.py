"""Statuses of a message and of an attempt, and which may follow which.

A message's status only moves forward::

    accepted ─▶ scheduled ─▶ held ─▶ queued ─▶ sending ─▶ sent ─▶ partially_delivered
        └────────────┴─────────┴───────┴──────────┴────────┴────────────┐
                                                                        ▼
               delivered · undelivered · failed · expired · canceled · suppressed

`delivered` always wins: a late receipt turns `undelivered`, `failed` or `expired` into it.
Nothing else leaves an end. Source: api.md "Messages", design.md §2 "Status".
"""

from typing import Final, Literal

MessageStatus = Literal[
    "accepted", "scheduled", "held", "queued", "sending", "sent", "partially_delivered",
    "delivered", "undelivered", "failed", "expired", "canceled", "suppressed",
]  # fmt: skip
AttemptStatus = Literal["sending", "sent", "delivered", "partially_delivered", "undelivered", "refused", "unknown"]
PartStatus = Literal["sent", "delivered", "undelivered"]

#: How far along each status is; an end has rank 100 and over.
RANK: Final[dict[str, int]] = {
    "accepted": 0, "scheduled": 1, "held": 2, "queued": 3, "sending": 4, "sent": 5, "partially_delivered": 6,
    "undelivered": 100, "failed": 100, "expired": 100, "canceled": 100, "suppressed": 100, "delivered": 200,
}  # fmt: skip
ENDS: Final = frozenset(s for s, rank in RANK.items() if rank >= 100)
#: Ends that a late `delivered` receipt may still turn.
REVERSIBLE_ENDS: Final = frozenset({"undelivered", "failed", "expired"})


def may_follow(old: str, new: str) -> bool:
    """Whether a message in status `old` may take status `new`.

    `queued` after `sending` is the one step that looks back: the attempt is over (refused for now)
    and the message waits for the next one.
    """
    if old == "delivered" or old == new:
        return False
    if new == "delivered":
        return old not in ENDS or old in REVERSIBLE_ENDS
    if old in ENDS:
        return False
    if old == "sending" and new == "queued":
        return True
    return RANK[new] > RANK[old]
