"""Connections that have not bound yet: where there are too many, somebody has to go. Pure."""

from collections import OrderedDict

from tidings.smppd.session import Session


class Lobby:
    """At most `most` are silent, and as many are binding.

    The one to go is the oldest of the address that has most: a crowd pushes out its own.

    A session whose bind is being looked at has left its place to the next one: it is answered soon, or refused, and must not
    be cut off by those that came after it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, OrderedDict[Session, None]] = {}
        self._binding: set[Session] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._binding)

    def __contains__(self, session: Session) -> bool:
        return session in self._binding or session in self._waiting.get(session.peer, ())

    def enter(self, session: Session) -> Session | None:
        """Takes it in; who has to go, if anybody."""
        self._waiting.setdefault(session.peer, OrderedDict())[session] = None
        self._count += 1
        if self._count <= self._most:
            return None
        crowd = max(self._waiting.values(), key=len)
        oldest = next(iter(crowd))
        self._leave(oldest)
        return oldest

    def binds(self, session: Session) -> bool:
        """Its bind has come; False where it is gone, or as many binds are being looked at."""
        if len(self._binding) >= self._most or not self._leave(session):
            return False
        self._binding.add(session)
        return True

    def discard(self, session: Session) -> None:
        """It is bound, or gone."""
        self._binding.discard(session)
        self._leave(session)

    def all(self) -> list[Session]:
        """Everybody."""
        return [*self._binding, *(session for queue in self._waiting.values() for session in queue)]

    def _leave(self, session: Session) -> bool:
        queue = self._waiting.get(session.peer)
        if queue is None or session not in queue:
            return False
        del queue[session]
        if not queue:
            del self._waiting[session.peer]
        self._count -= 1
        return True
