"""When each message is due, and in which lane: known before the run, whatever the server does. Pure."""

import random
from collections.abc import Iterator

from tidings.domain.message import LANE_NUMBER
from tidings.loadtest.plan import Plan


def times_s(plan: Plan) -> Iterator[float]:
    """Seconds after the start at which a request (a message, or a whole batch) is due, within the duration."""
    gap_s = plan.batch / plan.rate_per_s
    if plan.arrivals == "constant":
        n = 0
        while (at_s := n * gap_s) < plan.duration_s - 1e-9:
            yield at_s
            n += 1
        return
    rng = random.Random(plan.seed)
    at_s = rng.expovariate(1 / gap_s)
    while at_s < plan.duration_s:
        yield at_s
        at_s += rng.expovariate(1 / gap_s)


def lanes(plan: Plan) -> Iterator[int]:
    """The lane's number of each message, in the plan's shares: exact over any stretch, not only on average."""
    owed = {LANE_NUMBER[lane]: 0.0 for lane in plan.lanes}
    shares = [(LANE_NUMBER[lane], share) for lane, share in plan.lanes.items()]
    while True:
        for lane, share in shares:
            owed[lane] += share
        chosen = max(owed, key=lambda lane: (owed[lane], -lane))
        owed[chosen] -= 1
        yield chosen
