"""Every limit, with the reason for its number. Limits on everything: nothing grows without one."""

from typing import Final

# -- the edge
BODY_BYTES: Final = 1_048_576  # 1,000 messages of a batch at 1 kB each
MESSAGE_BODY_BYTES: Final = 16_777_216  # of a message or batch that says its length: 12 MB of attachments in base64
CALLBACK_BYTES: Final = 262_144  # a carrier that reports a hundred messages at once sends about 100 kB
CALLBACK_COMPLETE_S: Final = 8.0  # media are fetched within it; carriers give up on an answer after 10 s and more
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
SENDER_CHARS: Final = 320  # an email address (254, RFC 5321 §4.5.3.1.3) with a name
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
CLOCK_STEP_MS: Final = 2_000  # of the clock: NTP slews what is less, more is a jump
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
FALLBACK_BATCH: Final = 500  # messages whose next channel is due, of one look: each is unsealed and sealed again
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
DNS_CACHE_NAMES: Final = 4_096
OUTBOUND_IDLE_S: Final = 15.0  # an idle connection is closed then: less than most servers keep theirs
DNS_THREADS: Final = 16  # names that may hang before others wait for them

# routing
ROUTES: Final = 1_000  # of one project: more are a table of prefixes, which belongs into one route's `to`
ROUTE_TARGETS: Final = 32  # each has a draw for every message
ROUTE_WORDS: Final = 1_000  # destinations, tags or senders of one route
ROUTE_NO_RECEIPT_S: Final = 86_400.0  # then nobody waits for a message any more
HEALTH_WINDOW_S: Final = 10.0  # of outcomes that are looked at: long enough for a quiet carrier, short enough to notice
HEALTH_LINK_DOWN_S: Final = 1.0  # a link that is made anew at once is no outage
HEALTH_STALL_S: Final = 3.0  # without an answer to the oldest submission; carriers answer within a second
HEALTH_PAUSE_S: Final = 5.0  # before a dead carrier is tried again; doubled at every relapse
HEALTH_PAUSE_MOST_S: Final = 300.0  # then even one that flaps is tried twelve times an hour at the most
HEALTH_STEP_S: Final = 3.0  # of each step of the return: some hundred messages where it matters
HEALTH_RECEIPT_S: Final = 2.0  # receipts that take less than this are not waited for less
HEALTH_RECEIPT_MOST_S: Final = 60.0  # of a carrier whose receipts take longer, their absence is noticed a minute late
HEALTH_LOOK_S: Final = 0.25  # how often health is looked at
PACE_LOOK_S: Final = 0.5  # a worker looks this often for what waits: less burst would leave a rate unused
HEALTH_SAMPLES: Final = 200  # submissions on the wire whose latency is measured, for each provider

# -- verify: what a code is worth, and what sending one may cost. Windows slide; numbers are of one project and mode.
VERIFY_DIGITS: Final = (4, 10)  # fewer are guessed, more are not typed
VERIFY_DIGITS_DEFAULT: Final = 6  # 20 bits; Source: NIST SP 800-63B §5.1.3.2
VERIFY_VALID_S: Final = (30, 3_600)
VERIFY_VALID_DEFAULT_S: Final = 600  # Source: NIST SP 800-63B §5.1.3.2: ten minutes at most
VERIFY_ATTEMPTS_MAX: Final = 10
VERIFY_ATTEMPTS_DEFAULT: Final = 5  # five guesses at a million: 0.0005 %
VERIFY_SENDS: Final = 5  # of one verification: who got none of five gets no sixth either
VERIFY_RESEND_S: Final = 30  # most codes arrive within 10 s: an impatient finger must not cost a second message
VERIFY_FALLBACK_S: Final = 20  # a receipt takes 2 to 10 s; who waits at a form waits half a minute
VERIFY_BRAND_CHARS: Final = 24  # with it every built-in text is still one SMS
VERIFY_APP_HASH_BYTES: Final = 140  # Source: Android SMS Retriever: longer messages are not looked at
VERIFY_STARTS_PER_ADDRESS: Final = (600, 5)  # (window in seconds, most): a person who tries again
VERIFY_SENDS_PER_ADDRESS: Final = (86_400, 25)  # nobody's telephone is flooded through us
VERIFY_WRONG_PER_ADDRESS: Final = (86_400, 30)  # guesses a day over all codes of one person: 0.3 % even of four digits
VERIFY_STARTS_PER_IP: Final = (3_600, 30)  # a household or a small office behind one address
VERIFY_STARTS_PER_BLOCK: Final = (3_600, 100)  # 10,000 neighbours: a hundred an hour is no chance
VERIFY_PUMPING_WINDOW_S: Final = 86_400
VERIFY_PUMPING_GRACE_S: Final = 120  # who has not typed the code by then seldom does; younger ones are not judged
VERIFY_PUMPING_BLOCK: Final = (20, 0.10)  # (how many are judged, floor of approved): honest ones have 0.6 to 0.9
VERIFY_PUMPING_RANGE: Final = (100, 0.05)  # 1,000,000 numbers: more to lose by a mistake, so more proof is asked for
VERIFY_SEEN_ROWS: Final = 200  # that one decision looks at; above every number of a window here
VERIFY_KEEP_DAYS: Final = (2, 3_650)  # less, and marks (a day) and idempotency keys (two) would outlive what they name
VERIFY_KEEP_DEFAULT_DAYS: Final = 31  # of ended ones: as far back as statistics reach
VERIFY_FORGET_ROWS: Final = 1_000  # a second: more than are begun in one, and ~10 ms of the writer
VERIFY_SWEEP_S: Final = 1.0  # how late an expiry may be told; a check never takes an expired code
VERIFY_STATS_ROWS: Final = 100_000  # that one answer counts, newest first: half a second of work
VERIFY_STATS_S: Final = 31 * 86_400
VERIFY_PREFIXES: Final = 1_000  # allowed ones of a project

# email
EMAIL_SUBJECT_CHARS: Final = 998  # a line of a mail (RFC 5322 §2.1.1)
EMAIL_ADDRESS_CHARS: Final = 320  # name and address; addresses alone have 254 at most (RFC 5321 §4.5.3.1.3)
EMAIL_FILES: Final = 20
EMAIL_FILE_BYTES: Final = 15_000_000  # of one mail, decoded: base64 makes 20 MB, what most mail systems take
EMAIL_HEADERS: Final = 20
EMAIL_HEADER_CHARS: Final = 998
EMAIL_TAGS: Final = 4_000  # of HTML whose styles are moved; readers overflow the stack at ten thousand levels
EMAIL_MJ_TAGS: Final = 600  # of MJML; each becomes a few tables
EMAIL_FORMATTING: Final = 20  # open <b>, <a>, <font> …: each is opened anew in every paragraph
EMAIL_SIGNERS: Final = 4  # threads that sign mails, never more than there are cores: more would only take turns
EMAIL_SIGN_S: Final = 5.0  # that a stop waits for a signature under way: 20 MB are written and signed in a tenth of it
EMAIL_OUT_BYTES: Final = 1_000_000  # HTML after MJML and CSS; Gmail cuts at 102 kB
MAIL_IN_BYTES: Final = 26_214_400  # one mail to our listener: 25 MiB, as most mail systems take
MAIL_IN_CONNECTIONS: Final = 200
MAIL_IN_PER_PEER: Final = 20  # connections of one address at once
MAIL_IN_PER_MIN: Final = 600  # mails of one address
MAIL_IN_IDLE_S: Final = 300.0  # between commands; RFC 5321 §4.5.3.2.7
MAIL_IN_DATA_S: Final = 600.0  # for one whole mail: a sender that needs longer is no mail system
MAIL_IN_FILES: Final = 50

# -- WhatsApp
WHATSAPP_WINDOW_S: Final = 86_400  # Source: WhatsApp Business Platform, "Customer service windows"
WINDOW_KEPT_S: Final = 2 * 86_400  # of rows that say when people wrote: a day more, to say why a window is closed
WHATSAPP_KEPT_BYTES: Final = 5_242_880  # of a file that a person sends: every photo; longer films stay with Meta
WHATSAPP_CALL_BYTES: Final = 20_971_520  # of all files that one callback brings; Meta sends one at a time
WHATSAPP_FETCHES: Final = 4  # files of one callback that are fetched at once
WHATSAPP_MEDIA_BYTES: Final = 16_777_216  # of a file that we upload: what Meta takes of a film
WHATSAPP_MEDIA_S: Final = 60.0  # to upload it at 2 Mbit/s
WHATSAPP_TEMPLATES: Final = 6_000  # what Meta lets an account have

# -- push
ACK_BYTES: Final = 4_096  # ten times what an app sends
ACKS_PER_S: Final = 2_000  # genuine ones, of all devices: each is a write
ACKS_PER_TOKEN_PER_S: Final = 5  # of one message: delivered, opened, clicked, and a device that tries again
ACK_TOKENS: Final = 10_000  # messages whose acknowledgements are counted, ~200 B each
