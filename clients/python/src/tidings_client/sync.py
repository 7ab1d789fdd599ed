"""The synchronous client, on urllib3."""

import contextlib
import datetime as dt
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import urllib3

from tidings_client import api, models
from tidings_client.core import Call, Policy, base_of, headers_of, key_of, result_of, url_of, wait_s, words
from tidings_client.errors import ConnectionFailed
from tidings_client.stream import CONNECT_S, SILENCE_S, Follower

T = TypeVar("T")


class _Transport:
    """Carries calls out, with retries."""

    def __init__(self, key: str, base_url: str, policy: Policy) -> None:
        self.key, self.base_url, self.policy = key_of(key), base_of(base_url), policy
        self.pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=urllib3.Timeout(total=policy.timeout_s))

    def do(self, wanted: Call[T], retries: int | None = None) -> T:
        """The typed answer. Raises ApiError, ConnectionFailed, UnexpectedAnswer."""
        policy = self.policy if retries is None else msgspec.structs.replace(self.policy, retries=retries)
        tries, url, headers = 0, url_of(self.base_url, wanted), headers_of(self.key, wanted)
        while True:
            tries += 1
            status, after, body, reason = None, None, b"", ""
            try:
                answer = self.pool.request(wanted.method, url, headers=headers, body=wanted.body, redirect=False)
                status, after, body = answer.status, answer.headers.get("Retry-After"), answer.data
            except urllib3.exceptions.HTTPError as error:
                reason = str(error)
            pause = wait_s(policy, wanted, tries, status, after, body)
            if pause is None:
                if status is None:
                    raise ConnectionFailed(f"no answer from {self.base_url}: {reason}")
                return result_of(wanted, status, body)
            time.sleep(pause)

    def each(self, path: str, kind: type[T], query: dict[str, Any]) -> Iterator[T]:
        """Every item of a list, page after page."""
        cursor = None
        while True:
            page = self.do(api.listing(path, kind, {**query, "cursor": cursor}))
            yield from page.data
            cursor = page.next_cursor
            if cursor is None:
                return


class _Resource:
    def __init__(self, transport: _Transport) -> None:
        self._transport = transport
        self._do = transport.do


class Messages(_Resource):
    """`/v1/messages`."""

    def send(self, *, idempotency_key: str | None = None, **request: Any) -> models.Message:
        """Sends one message: the fields of `POST /v1/messages`; `from` and `class` also as `sender` and `lane`."""
        return self._do(api.send(words(request), idempotency_key))

    def send_batch(self, requests: list[dict[str, Any]], *, idempotency_key: str | None = None) -> models.Batch:
        """Sends up to 1,000; each item stands alone."""
        return self._do(api.send_batch(requests, idempotency_key))

    def preview(self, **request: Any) -> dict[str, Any]:
        """What would be sent: text, encoding, parts, decision, route."""
        return self._do(api.preview(words(request)))

    def get(self, message_id: str) -> models.Message:
        """One message with its attempts."""
        return self._do(api.message(message_id))

    def list(self, **filters: Any) -> Iterator[models.Message]:
        """Messages, newest first: status, channel, to, reference, tag, since, until."""
        return self._transport.each("/v1/messages", models.Message, filters)

    def events(self, message_id: str) -> Iterator[models.Event]:
        """Its timeline, oldest first."""
        return self._transport.each(api.timeline_path(message_id), models.Event, {})

    def cancel(self, message_id: str) -> models.Message:
        """Stops a message that has not left."""
        return self._do(api.cancel(message_id))

    def retry(self, message_id: str) -> models.Message:
        """A new message like one that failed."""
        return self._do(api.retry(message_id))


class Webhooks(_Resource):
    """`/v1/webhooks`."""

    def create(self, *, url: str, types: list[str] | None = None, description: str = "") -> models.WebhookEndpoint:
        """Makes an endpoint; its `secret` is in this answer only."""
        return self._do(api.webhook_create(url, types, description))

    def get(self, endpoint_id: str) -> models.WebhookEndpoint:
        """One endpoint."""
        return self._do(api.webhook("GET", endpoint_id))

    def update(self, endpoint_id: str, **changes: Any) -> models.WebhookEndpoint:
        """Changes url, types, description or status."""
        return self._do(api.webhook("PATCH", endpoint_id, changes))

    def delete(self, endpoint_id: str) -> None:
        """Removes it."""
        self._do(api.webhook("DELETE", endpoint_id))

    def rotate_secret(self, endpoint_id: str) -> models.WebhookEndpoint:
        """A new secret; the old one signs too for 24 hours. Never repeated by itself: a second one would end the old."""
        return self._do(api.webhook_rotate(endpoint_id))

    def deliveries(self, endpoint_id: str) -> Iterator[models.Delivery]:
        """Its deliveries, newest first."""
        return self._transport.each(api.deliveries_path(endpoint_id), models.Delivery, {})

    def replay(self, endpoint_id: str, since: str | dt.datetime) -> models.Replay:
        """Sends every wanted event since a time again; while `next_since` is there, go on from it."""
        return self._do(api.webhook_replay(endpoint_id, since))

    def replay_delivery(self, delivery_id: str) -> models.Delivery:
        """Sends one delivery again."""
        return self._do(api.delivery_replay(delivery_id))

    def list(self) -> Iterator[models.WebhookEndpoint]:
        """Endpoints, newest first."""
        return self._transport.each("/v1/webhooks", models.WebhookEndpoint, {})


class Keys(_Resource):
    """`/v1/keys`."""

    def create(
        self, *, name: str, scopes: list[str], mode: str = "test", expires_at: str | dt.datetime | None = None,
        project: str | None = None,
    ) -> models.Key:  # fmt: skip
        """Makes a key that can do no more than this one; `key` is in this answer only. Scope `*` is everything."""
        wanted = {"name": name, "mode": mode, "scopes": scopes, "expires_at": expires_at, "project": project}
        return self._do(api.key_create(wanted))

    def revoke(self, key_id: str) -> None:
        """Revokes it, at once."""
        self._do(api.key_revoke(key_id))

    def list(self) -> Iterator[models.Key]:
        """Keys, newest first."""
        return self._transport.each("/v1/keys", models.Key, {})


class Providers(_Resource):
    """`/v1/providers`."""

    def create(self, *, name: str, type: str, config: dict[str, Any]) -> models.Provider:
        """Declares and starts one."""
        return self._do(api.provider_create(name, type, config))

    def get(self, name: str) -> models.Provider:
        """One provider, by name or id."""
        return self._do(api.provider("GET", name))

    def pause(self, name: str) -> models.Provider:
        """Drains it; nothing more goes through it."""
        return self._do(api.provider("POST", name, "/pause"))

    def resume(self, name: str) -> models.Provider:
        """Starts it again."""
        return self._do(api.provider("POST", name, "/resume"))

    def delete(self, name: str) -> None:
        """Drains and removes it."""
        self._do(api.provider("DELETE", name))

    def templates(self, name: str) -> Iterator[models.Template]:
        """The templates that its carrier has now, by name and language, with the state of their approval."""
        return self._transport.each(api.templates_path(name), models.Template, {})

    def upload(self, name: str, data: bytes, media_type: str) -> models.Media:
        """Gives its carrier a file, to be named by `id` in a content. Repeated by itself only where none was made."""
        return self._do(api.media_upload(name, data, media_type))

    def list(self) -> Iterator[models.Provider]:
        """Providers with the state of their links."""
        return self._transport.each("/v1/providers", models.Provider, {})


class Routes(_Resource):
    """`/v1/routes`. A route is a dict as in the API: `name`, `targets`, and what it is for."""

    def create(self, route: dict[str, Any]) -> models.Route:
        """Makes one."""
        return self._do(api.route_create(route))

    def get(self, name: str) -> models.Route:
        """One route, by name or id."""
        return self._do(api.route("GET", name))

    def replace(self, name: str, route: dict[str, Any]) -> models.Route:
        """Puts this one in its place."""
        return self._do(api.route("PUT", name, route))

    def delete(self, name: str) -> None:
        """Removes it."""
        self._do(api.route("DELETE", name))

    def list(self) -> Iterator[models.Route]:
        """All that may decide for the project's messages."""
        return self._transport.each("/v1/routes", models.Route, {})


class Suppressions(_Resource):
    """`/v1/suppressions`."""

    def add(self, to: str, *, channel: str = "sms", reason: str = "manual") -> models.Suppression:
        """Nobody writes to them any more."""
        return self._do(api.suppression_add(to, channel, reason))

    def lift(self, to: str, *, channel: str = "sms") -> None:
        """They may be written to again."""
        self._do(api.suppression_lift(to, channel))

    def list(self) -> Iterator[models.Suppression]:
        """All of them."""
        return self._transport.each("/v1/suppressions", models.Suppression, {})


class Projects(_Resource):
    """`/v1/projects`: tenants. Only a live `*` key of the first project makes them."""

    def create(self, *, name: str) -> models.Project:
        """Makes a tenant, without keys: `keys.create(project=…)` makes those."""
        return self._do(api.project_create(name))

    def list(self) -> Iterator[models.Project]:
        """Projects that this key may see, newest first."""
        return self._transport.each("/v1/projects", models.Project, {})


class Receipts(_Resource):
    """`/v1/receipts`."""

    def unmatched(self) -> Iterator[models.Receipt]:
        """What carriers reported that matches no attempt, newest first."""
        return self._transport.each("/v1/receipts", models.Receipt, {"matched": "false"})


class Verifications(_Resource):
    """`/v1/verifications`."""

    def start(self, *, idempotency_key: str | None = None, **request: Any) -> models.Verification:
        """Sends a code: to, channel or channels, locale, brand, text, code_length, valid_for_s, reference …"""
        return self._do(api.verification_start(words(request), idempotency_key))

    def check(self, verification_id: str, code: str, *, idempotency_key: str | None = None) -> models.Check:
        """Whether the code is right: `valid` says so, and only for this call."""
        return self._do(api.verification_check(verification_id, code, idempotency_key))

    def resend(self, verification_id: str, *, channel: str | None = None) -> models.Verification:
        """Sends the same code again, by all its channels in turn or by one of them."""
        return self._do(api.verification_resend(verification_id, channel))

    def cancel(self, verification_id: str) -> models.Verification:
        """Its code is worth nothing any more."""
        return self._do(api.verification_cancel(verification_id))

    def get(self, verification_id: str) -> models.Verification:
        """One verification."""
        return self._do(api.verification(verification_id))

    def sandbox_code(self, verification_id: str) -> str:
        """The code, with a test key: for tests of your own."""
        return self._do(api.verification_code(verification_id)).code

    def stats(
        self, *, since: str | dt.datetime | None = None, until: str | dt.datetime | None = None
    ) -> models.VerificationStats:
        """How verifications went, by channel and country; without `since` those of the last 24 hours."""
        return self._do(api.verification_stats(since, until))

    def list(self, **filters: Any) -> Iterator[models.Verification]:
        """Verifications, newest first: status, reference, to."""
        return self._transport.each("/v1/verifications", models.Verification, filters)

    def allow(self, prefix: str) -> models.AllowedPrefix:
        """Numbers that begin so are past the pumping guard."""
        return self._do(api.prefix_allow(prefix))

    def disallow(self, prefix: str) -> None:
        """They are guarded again."""
        self._do(api.prefix_disallow(prefix))

    def prefixes(self) -> Iterator[models.AllowedPrefix]:
        """The allowed ones."""
        return self._transport.each("/v1/verifications/prefixes", models.AllowedPrefix, {})


class Tidings:
    """A client of one server with one key. Use it as a context manager, or call `close`."""

    def __init__(self, api_key: str, base_url: str = "http://127.0.0.1:8300", *, policy: Policy | None = None) -> None:
        transport = self._transport = _Transport(api_key, base_url, policy or Policy())
        self.messages, self.webhooks, self.keys = Messages(transport), Webhooks(transport), Keys(transport)
        self.providers, self.suppressions = Providers(transport), Suppressions(transport)
        self.routes = Routes(transport)
        self.projects, self.receipts = Projects(transport), Receipts(transport)
        self.verifications = Verifications(transport)

    def __enter__(self) -> "Tidings":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.pool.clear()

    def inbound(self) -> Iterator[models.Inbound]:
        """What people sent, newest first."""
        return self._transport.each("/v1/inbound", models.Inbound, {})

    def mark_read(self, inbound_id: str) -> None:
        """Shows the person that it, and all they wrote before it, was read. Raises Conflict where the channel has no such thing."""
        self._transport.do(api.inbound_read(inbound_id))

    def health(self) -> models.Health:
        """`/readyz`, once. Raises ServerError with the reasons while the server should get no traffic."""
        return self._transport.do(api.ready(), retries=0)

    def stream(self, types: list[str] | None = None, after: int | None = None) -> Iterator[models.Event]:
        """Events from now on (or behind `after`, a `seq`), for ever; goes on where it was when the connection breaks.

        Each comes at least once. Raises ApiError, and ConnectionFailed if the server was never reached.
        """
        transport = self._transport
        follower = Follower(transport.key, transport.policy, types, after)
        url = url_of(transport.base_url, follower.call)
        limit = urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S)
        while True:
            try:
                answer = transport.pool.request(
                    "GET", url, headers=follower.headers(), preload_content=False, timeout=limit, redirect=False
                )
                with contextlib.closing(answer):
                    if answer.status == 200:
                        follower.opened(answer.headers.get("Content-Type"))
                        # read1: `stream` would wait for so many bytes where a proxy does not send chunks
                        while chunk := answer.read1(65_536):
                            yield from follower.feed(chunk)
                        pause = follower.broken("the server closed the stream")
                    else:
                        pause = follower.refused(answer.status, answer.headers.get("Retry-After"), answer.read())
            except urllib3.exceptions.HTTPError as error:
                pause = follower.broken(f"{transport.base_url}: {error}")
            time.sleep(pause)
