"""Addresses that a carrier says are no more: they are not written to again."""

from tidings.delivery.job import Job
from tidings.domain.address import address_key
from tidings.domain.attempt import Outcome, PartRefused
from tidings.domain.message import Personal
from tidings.kit.secrets import KeyRing
from tidings.store.accounts import NewSuppression, owner
from tidings.store.sealed import encode_personal


def suppressions_of(job: Job, outcome: Outcome, ring: KeyRing) -> tuple[NewSuppression, ...]:
    """One for each part whose refusal says so."""
    message, made = job.message, list[NewSuppression]()
    each = message.personal.each or (message.personal.to,)
    for n, part in enumerate(outcome.parts):
        if isinstance(part, PartRefused) and part.suppress:
            address = each[n]
            to_hash = address_key(ring, address)
            sealed = ring.seal(encode_personal(Personal(to=address)), owner(message.channel, to_hash))
            made.append(
                NewSuppression(
                    project=message.project, channel=message.channel, to_hash=to_hash, reason=part.suppress,
                    created_ms=outcome.at_ms, key_id=ring.current, sealed=sealed,
                )
            )  # fmt: skip
    return tuple(made)
