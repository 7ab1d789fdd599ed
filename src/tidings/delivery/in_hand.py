"""What a worker has in hand: jobs from their lease until their settlement is stored, attempts from the wire to their outcome."""

import logging
from collections.abc import Iterator

from tidings.delivery.job import Job
from tidings.domain.attempt import Outcome, PartUnknown
from tidings.kit.limits import DOUBTED

_log = logging.getLogger(__name__)


class InHand:
    """Jobs by their message, attempts by their id."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, str]] = {}  # message → its project, and its attempt once it has one
        self._flying: dict[str, tuple[Job, str]] = {}  # attempt → its job and provider
        self._doubted: dict[str, Job] = {}  # settled as unknown, oldest first

    def __contains__(self, message: str) -> bool:
        return message in self._held

    @property
    def flying(self) -> int:
        """Attempts whose outcome is still to come."""
        return len(self._flying)

    def hold(self, project: str, message: str) -> None:
        """A job was leased."""
        self._held[message] = (project, "")

    def held(self) -> Iterator[tuple[str, str]]:
        """(project, message) of every job."""
        return ((project, message) for message, (project, _) in self._held.items())

    def took_off(self, attempt: str, job: Job, provider: str) -> None:
        """The job's attempt is stored, and goes to the provider."""
        self._held[job.message.id] = (job.message.project, attempt)
        self._flying[attempt] = (job, provider)

    def in_the_air(self, job: Job) -> str:
        """The job's attempt whose outcome is still to come; '' if it has none."""
        attempt = self._held.get(job.message.id, ("", ""))[1]
        return attempt if attempt in self._flying else ""

    def oldest(self) -> dict[str, str]:
        """The attempt of each provider that has waited longest for its outcome."""
        found: dict[str, str] = {}
        for attempt, (_, provider) in self._flying.items():
            found.setdefault(provider, attempt)
        return found

    def landed(self, outcome: Outcome) -> Job | None:
        """Whose outcome it is. What is unknown is remembered for a while: its answer may still come."""
        if outcome.late:
            return self._doubted.pop(outcome.attempt_id, None)
        flying = self._flying.pop(outcome.attempt_id, None)
        if flying is None:
            _log.error("an outcome for no submission", extra={"attempt_id": outcome.attempt_id})
            return None
        if any(isinstance(part, PartUnknown) for part in outcome.parts):
            self._doubted[outcome.attempt_id] = flying[0]
            if len(self._doubted) > DOUBTED:
                del self._doubted[next(iter(self._doubted))]
        return flying[0]

    def put_down(self, message: str) -> None:
        """The pipeline is done with it: without an attempt it is in hand no more."""
        held = self._held.get(message)
        if held is not None and not held[1]:
            del self._held[message]

    def settled(self, message: str, attempt: str) -> None:
        """What became of the attempt is stored."""
        if self._held.get(message, ("", ""))[1] == attempt:
            del self._held[message]
