"""Settings and limits of the SMPP server for customers, each limit with its reason."""

from typing import Final, Literal

import msgspec

from tidings.kit.limits import RATE_PER_KEY_PER_S
from tidings.protocols.smpp.concat import Alphabet


class SmppServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[smpp_server]`: off unless `listen` names HOST:PORT. With a certificate the listener speaks TLS and nothing else.

    `default_alphabet` is what data_coding 0 means; `data_coding_1` is ASCII by the specification, but some clients (npm
    `smpp`) write GSM 7-bit under that number. `window`: submits without an answer on one session, and deliver_sm without
    one. `rate_per_s`: submits of one key, over all its sessions with this process.
    """

    listen: str = ""
    tls_cert: str | None = None
    tls_key: str | None = None
    max_connections: int = 1_000
    window: int = 100
    rate_per_s: int = RATE_PER_KEY_PER_S
    bind_timeout_s: float = 5.0
    enquire_link_s: float = 30.0
    response_timeout_s: float = 30.0
    default_alphabet: Alphabet = "gsm"
    data_coding_1: Literal["ascii", "gsm"] = "ascii"


SESSIONS_PER_KEY: Final = 50  # more binds than any application opens; one key never takes all connections
UNBOUND: Final = 256  # connections that have not bound yet; the oldest makes room for a new one
UNBOUND_BYTES: Final = 512  # a bind has 143 octets at most, some more where the password is an API key
WRITE_HIGH_BYTES: Final = 262_144  # behind it a client that does not read is not read from either
CLOSE_S: Final = 2.0  # for the last octets of a session, and for the answer to our unbind
BATCH: Final = 500  # requests of one session that are accepted in one go
KEY_CHECK_S: Final = 2.0  # how long a session outlives its revoked or expired key

# -- guessing of passwords: 8 characters are 46 bits
FAILURES_PER_ADDRESS: Final = 20  # wrong binds at once from one address; then one more each FAILURE_BACK_S
FAILURES_PER_NAME: Final = 10  # and for one system_id, from addresses that never bound well with it
FAILURE_BACK_S: Final = 10.0
FAILURES_KEPT: Final = 20_000  # addresses and names that are remembered

# -- parts of long messages
PARTS_MOST: Final = 65  # 65 x 153 septets is the longest text that the API takes
PARTS_WAIT_S: Final = 300  # then what came of a message is sent without the parts that did not
PARTS_GIVE_UP_S: Final = 86_400  # a whole message that is refused so long is given up, and logged
PARTS_KEPT_S: Final = 7 * 86_400  # query_sm and cancel_sm know the ids of parts this long
PARTS_SWEEP_S: Final = 5.0

# -- deliver_sm
HELD: Final = 500  # events of one key read ahead of its acknowledgements: bounds memory, and what a crash repeats
GATHER_S: Final = 0.02  # under load the log is read this often; the first event after a pause at once
IDLE_S: Final = 0.5  # a lost doorbell costs one of these
SAVE_S: Final = 0.5  # how often a cursor that moved is written
LEASE_S: Final = 15.0  # which process delivers to a key; another one takes over after it
RENEW_S: Final = 5.0
RETRY_FIRST_S: Final = 1.0  # after an answer such as ESME_RX_T_APPN
RETRY_LAST_S: Final = 60.0
GIVE_UP_S: Final = 3 * 86_400  # of nothing but such answers to one deliver_sm
