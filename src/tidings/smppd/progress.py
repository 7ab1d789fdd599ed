"""How far the log was handed over, where acknowledgements come in any order. Pure."""


class Progress:
    """`cursor`: everything up to it is done. Events are added in the order of the log."""

    __slots__ = ("_open", "_read")

    def __init__(self, cursor: int) -> None:
        self._read = cursor
        self._open: dict[int, int] = {}  # sequence number -> PDUs that are not done yet

    @property
    def cursor(self) -> int:
        """What may be stored."""
        return next(iter(self._open)) - 1 if self._open else self._read

    @property
    def read(self) -> int:
        """How far the log was read."""
        return self._read

    @property
    def open(self) -> int:
        """Events that are not done."""
        return len(self._open)

    def add(self, seq: int, pdus: int) -> None:
        """An event that takes so many PDUs."""
        if pdus:
            self._open[seq] = pdus

    def reach(self, upto: int) -> None:
        """The log was read up to here."""
        self._read = max(self._read, upto)

    def done(self, seq: int) -> None:
        """One PDU of the event is done."""
        left = self._open[seq] - 1
        if left:
            self._open[seq] = left
        else:
            del self._open[seq]
