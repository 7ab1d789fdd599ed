"""Every limit, with the reason for its number. Limits on everything: nothing grows without one."""

from typing import Final

# -- the edge
BODY_BYTES: Final = 1_048_576  # 1,000 messages of a batch at 1 kB each
CALLBACK_BYTES: Final = 262_144  # a carrier that reports a hundred messages at once sends about 100 kB
HEAD_TIMEOUT_S: Final = 20.0  # for a request's line and headers
HEAD_BYTES: Final = 65_536  # ten times what browsers and proxies send
BODY_TIMEOUT_S: Final = 20.0  # a caller slower than that holds a place that others need
UNREAD_TIMEOUT_S: Final = 30.0  # an answer of which nothing was read for so long; nginx's send_timeout is 60 s
LISTEN_BACKLOG: Final = (
    4_096  # a newcomer beyond it is dropped and tries again after 1, 3, 7 … s; net.core.somaxconn caps it
)
SEND_BUFFER_BYTES: Final = 131_072  # of one connection, in the kernel: Linux would take 4 MB for one that does not read
REQUESTS_IN_FLIGHT: Final = 2_000  # requests at once, each 64 KiB of body counting as one: 128 MiB at most
REQUEST_UNIT_BYTES: Final = 65_536
FAILURES_TOLD_S: Final = 1.0  # a full store fails every request: one line of log for all of this time
STREAM_HEARTBEAT_S: Final = 15.0  # below the idle time-outs of common proxies
LIST_SCAN_ROWS: Final = 20_000  # rows that one page looks at: a filter that matches little gives short pages
KEY_CACHE: Final = 10_000  # API keys kept in memory
KEY_WATCH_S: Final = 2.0  # how long a key outlives its revocation through another process
BATCH_MESSAGES: Final = 1_000  # api.md
TEXT_CHARS: Final = 10_000  # ~65 SMS parts: longer is a mistake, not a message
TAGS: Final = 20
TAG_CHARS: Final = 64
REFERENCE_CHARS: Final = 256
METADATA_BYTES: Final = 16_384  # an identifier or two, not a document
DATA_BYTES: Final = 65_536  # what a template can use in one message
SEQUENCE_CHARS: Final = 128
IDEMPOTENCY_KEY_CHARS: Final = 255  # Stripe's
IDEMPOTENCY_DAYS: Final = 2  # today's and yesterday's table: at least 24 h
VALID_FOR_MAX_S: Final = 30 * 86_400
SEND_AT_MAX_S: Final = 366 * 86_400
PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 200
RATE_PER_KEY_PER_S: Final = 10_000  # above what one node carries: a guard, not a price list
ACCEPT_PENDING: Final = 5_000  # accepts waiting for the disk: ~1 s of work; beyond it 503 is kinder than memory
QUEUE_PER_PROJECT: Final = 20_000_000  # unsent messages of one project

# -- rendering
RENDER_LOOPS: Final = 10_000
RENDER_BYTES: Final = 65_536
RENDER_MS: Final = 50
TEMPLATE_CACHE: Final = 2_000

# -- delivery
LEASE_S: Final = 30  # longer than any answer may take (response_timeout_s + pause)
LEASE_BATCH: Final = 500
TRIES: Final = 8  # attempts of one message, refused for now (~2 h with the back-off below) or never answered
SUSPECT_AFTER: Final = 2  # workers that ended with a job in hand before it is worked on alone: one is an accident
STRIKES: Final = 3  # of one job; more would be more restarts of the worker for all
ALONE_TURNS: Final = 50  # times ALONE_TURN_S: how long a suspect is alone on the wire, unless its answer comes sooner
ALONE_TURN_S: Final = 0.005
STRIKE_PAUSE_S: Final = 2.0  # times the strikes so far
RETRY_FIRST_S: Final = 2.0
RETRY_LAST_S: Final = 1_800.0
UNKNOWN_WAIT_OTP_S: Final = 10
UNKNOWN_WAIT_S: Final = 900
UNKNOWN_MATCH_S: Final = 120
RECEIPT_KEPT_S: Final = 7 * 86_400  # unmatched ones: longer than any carrier tries to deliver
DOUBTED: Final = 20_000  # unknown outcomes of this process whose late answer can still settle them, ~1 kB each
SWEEP_S: Final = 0.5  # a lost doorbell costs one of these
POLL_S: Final = 0.1  # how often a process looks where no bus rings for it: a few cheap reads
ROSTER_S: Final = 1.0  # how soon providers made, paused or removed in another process are seen where no bus rings
LINKS_S: Final = 1.0  # how old the state of links may be in other processes
OWNER_TERM_S: Final = 10.0  # a dead worker's binds are free after it; far longer than a pause of a healthy process
HOLDS_AGAIN_S: Final = (
    0.5  # until a provider that may not write asks again: by then its owner has beaten, or it is stopped
)
EXPIRE_BATCH: Final = 1_000
RECEIPT_OVERDUE_S: Final = 72 * 3_600
INBOUND_PARTS_WAIT_S: Final = 120  # then what came is handed on as partial
INBOUND_DEDUP_S: Final = 86_400
DRAIN_S: Final = 15.0

# -- store
STORE_GROUP_ITEMS: Final = 4_000  # items of one commit: bounds the longest wait of a bystander
STORE_READERS: Final = 2

# -- webhooks out
WEBHOOK_TIMEOUT_S: Final = 15.0
WEBHOOK_CONCURRENCY: Final = 16  # calls at once to one endpoint
WEBHOOK_READ_EVENTS: Final = 500
WEBHOOK_RETRY_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  # api.md
WEBHOOK_RESPONSE_BYTES: Final = 65_536
WEBHOOK_ENDPOINTS: Final = 50  # of one project
STREAM_CLIENTS: Final = 100
WEBHOOK_IDLE_S: Final = 0.5  # how often a pump looks without being rung, and how late a retry may be
WEBHOOK_LOOK_S: Final = 1.0  # how soon an endpoint changed in another process is seen where no bus rings
WEBHOOK_DISABLE_AFTER_S: Final = 5 * 86_400  # of nothing but failures
WEBHOOK_ROTATION_S: Final = 86_400  # the old secret signs too
WEBHOOK_REPLAY_EVENTS: Final = 100_000
WEBHOOK_FAILING_AFTER: Final = (
    16  # calls in a row without an answer (one full width): then no event waits for a time-out
)
WEBHOOK_PROBES: Final = 2  # calls at once to an endpoint that does not answer: few sockets for the dead
WEBHOOK_PROBE_S: Final = 5.0  # how soon its return is noticed
WEBHOOK_BATCH_S: Final = 2.0  # no call of a batch starts later: bounds what a crash repeats, and how late rows show
WEBHOOK_GATHER_S: Final = 0.003  # under load events are looked for this often; the first one after a pause at once
WEBHOOK_SCAN_EVENTS: Final = 5_000  # events that one read looks through for wanted ones
WEBHOOK_CURSOR_S: Final = 5.0  # how often a cursor that only passed unwanted events is written
WEBHOOK_STOP_S: Final = 1.0  # calls under way get this long when a pump stops; then they are cut off and repeated later
WEBHOOK_SECRETS: Final = 4  # secrets that sign at once: rotations within one day
WEBHOOK_CHUNK_ROWS: Final = 2_000  # rows of one statement when many deliveries are queued or deleted
DNS_CACHE_S: Final = 30
DNS_THREADS: Final = 16  # names that may hang before others wait for them
