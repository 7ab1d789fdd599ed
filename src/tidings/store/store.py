"""The store as the rest of Tidings sees it: one attribute for each aggregate, whichever engine runs beneath."""

from tidings.store.acks import Acks
from tidings.store.clock import StoreClock
from tidings.store.delivery import Accepting, Attempts, Fallbacks, Inbound, Jobs, Overdue, Providers, Receipts
from tidings.store.engine import Engine, dialect_of
from tidings.store.owners import Ownership
from tidings.store.product import Keys, Lists, Messages, Suppressions, Webhooks
from tidings.store.routes import Routes
from tidings.store.verifications import Verifications
from tidings.store.windows import Windows


class Store:
    """Every operation is a coroutine; a write returns once it is durable. All raise StoreError, writes StoreFull."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.accepting = Accepting(engine)
        self.jobs = Jobs(engine)
        self.attempts = Attempts(engine)
        self.receipts = Receipts(engine)
        self.inbound = Inbound(engine)
        self.windows = Windows(engine)
        self.acks = Acks(engine)
        self.ownership = Ownership(engine)
        self.overdue = Overdue(engine)
        self.fallbacks = Fallbacks(engine)
        self.providers = Providers(engine)
        self.messages = Messages(engine)
        self.lists = Lists(engine)
        self.keys = Keys(engine)
        self.suppressions = Suppressions(engine)
        self.webhooks = Webhooks(engine)
        self.routes = Routes(engine)
        self.verifications = Verifications(engine)
        self.clock = StoreClock(engine)

    async def probe(self, now_ms: int) -> None:
        """A write that proves that the store takes writes."""
        await self.engine.write(dialect_of(self.engine, "probe").probe, [now_ms])

    async def same_ring(self, name: str) -> bool:
        """Whether `name` names the key ring that this database was first used with: what one seals another has to open."""
        return (await self.engine.write(dialect_of(self.engine, "probe").same_ring, [name]))[0]

    async def done(self, name: str) -> bool:
        """Whether a piece of work that is done once in an installation's life is done."""
        return await self.engine.read(lambda c: dialect_of(self.engine, "probe").done(c, name))

    async def note_done(self, name: str) -> None:
        """It is."""
        await self.engine.write(dialect_of(self.engine, "probe").note_done, [name])
