"""The asynchronous client, on aiohttp."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec

from tidings_client import api, models
from tidings_client.core import Call, Policy, base_of, headers_of, key_of, result_of, url_of, wait_s, words
from tidings_client.errors import ConnectionFailed
from tidings_client.stream import CONNECT_S, SILENCE_S, Follower

T = TypeVar("T")


class _Transport:
    """Carries calls out, with retries."""

    def __init__(self, key: str, base_url: str, policy: Policy) -> None:
        self.key, self.base_url, self.policy = key_of(key), base_of(base_url), policy
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Made at first use, on the running event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.policy.timeout_s))
        return self._session

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def do(self, wanted: Call[T], retries: int | None = None) -> T:
        """The typed answer. Raises ApiError, ConnectionFailed, UnexpectedAnswer."""
        policy = self.policy if retries is None else msgspec.structs.replace(self.policy, retries=retries)
        tries, url, headers = 0, url_of(self.base_url, wanted), headers_of(self.key, wanted)
        while True:
            tries += 1
            status, after, body, reason = None, None, b"", ""
            try:
                async with self.session.request(
                    wanted.method, url, headers=headers, data=wanted.body, allow_redirects=False
                ) as answer:
                    status, after, body = answer.status, answer.headers.get("Retry-After"), await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                status, reason = None, str(error)
            pause = wait_s(policy, wanted, tries, status, after, body)
            if pause is None:
                if status is None:
                    raise ConnectionFailed(f"no answer from {self.base_url}: {reason}")
                return result_of(wanted, status, body)
            await asyncio.sleep(pause)

    async def each(self, path: str, kind: type[T], query: dict[str, Any]) -> AsyncIterator[T]:
        """Every item of a list, page after page."""
        cursor = None
        while True:
            page = await self.do(api.listing(path, kind, {**query, "cursor": cursor}))
            for item in page.data:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return


class _Resource:
    def __init__(self, transport: _Transport) -> None:
        self._transport = transport
        self._do = transport.do


class Messages(_Resource):
    """`/v1/messages`."""

    async def send(self, *, idempotency_key: str | None = None, **request: Any) -> models.Message:
        """Sends one message: the fields of `POST /v1/messages`; `from` and `class` also as `sender` and `lane`."""
        return await self._do(api.send(words(request), idempotency_key))

    async def send_batch(self, requests: list[dict[str, Any]], *, idempotency_key: str | None = None) -> models.Batch:
        """Sends up to 1,000; each item stands alone."""
        return await self._do(api.send_batch(requests, idempotency_key))

    async def preview(self, **request: Any) -> dict[str, Any]:
        """What would be sent: text, encoding, parts, decision, route."""
        return await self._do(api.preview(words(request)))

    async def get(self, message_id: str) -> models.Message:
        """One message with its attempts."""
        return await self._do(api.message(message_id))

    def list(self, **filters: Any) -> AsyncIterator[models.Message]:
        """Messages, newest first: status, channel, to, reference, tag, since, until."""
        return self._transport.each("/v1/messages", models.Message, filters)

    def events(self, message_id: str) -> AsyncIterator[models.Event]:
        """Its timeline, oldest first."""
        return self._transport.each(api.timeline_path(message_id), models.Event, {})

    async def cancel(self, message_id: str) -> models.Message:
        """Stops a message that has not left."""
        return await self._do(api.cancel(message_id))

    async def retry(self, message_id: str) -> models.Message:
        """A new message like one that failed."""
        return await self._do(api.retry(message_id))


class Webhooks(_Resource):
    """`/v1/webhooks`."""

    async def create(
        self, *, url: str, types: list[str] | None = None, description: str = ""
    ) -> models.WebhookEndpoint:
        """Makes an endpoint; its `secret` is in this answer only."""
        return await self._do(api.webhook_create(url, types, description))

    async def get(self, endpoint_id: str) -> models.WebhookEndpoint:
        """One endpoint."""
        return await self._do(api.webhook("GET", endpoint_id))

    async def update(self, endpoint_id: str, **changes: Any) -> models.WebhookEndpoint:
        """Changes url, types, description or status."""
        return await self._do(api.webhook("PATCH", endpoint_id, changes))

    async def delete(self, endpoint_id: str) -> None:
        """Removes it."""
        await self._do(api.webhook("DELETE", endpoint_id))

    async def rotate_secret(self, endpoint_id: str) -> models.WebhookEndpoint:
        """A new secret; the old one signs too for 24 hours. Never repeated by itself: a second one would end the old."""
        return await self._do(api.webhook_rotate(endpoint_id))

    def deliveries(self, endpoint_id: str) -> AsyncIterator[models.Delivery]:
        """Its deliveries, newest first."""
        return self._transport.each(api.deliveries_path(endpoint_id), models.Delivery, {})

    async def replay(self, endpoint_id: str, since: str | dt.datetime) -> models.Replay:
        """Sends every wanted event since a time again; while `next_since` is there, go on from it."""
        return await self._do(api.webhook_replay(endpoint_id, since))

    async def replay_delivery(self, delivery_id: str) -> models.Delivery:
        """Sends one delivery again."""
        return await self._do(api.delivery_replay(delivery_id))

    def list(self) -> AsyncIterator[models.WebhookEndpoint]:
        """Endpoints, newest first."""
        return self._transport.each("/v1/webhooks", models.WebhookEndpoint, {})


class Keys(_Resource):
    """`/v1/keys`."""

    async def create(
        self, *, name: str, scopes: list[str], mode: str = "test", expires_at: str | dt.datetime | None = None,
        project: str | None = None,
    ) -> models.Key:  # fmt: skip
        """Makes a key that can do no more than this one; `key` is in this answer only. Scope `*` is everything."""
        wanted = {"name": name, "mode": mode, "scopes": scopes, "expires_at": expires_at, "project": project}
        return await self._do(api.key_create(wanted))

    async def revoke(self, key_id: str) -> None:
        """Revokes it, at once."""
        await self._do(api.key_revoke(key_id))

    def list(self) -> AsyncIterator[models.Key]:
        """Keys, newest first."""
        return self._transport.each("/v1/keys", models.Key, {})


class Providers(_Resource):
    """`/v1/providers`."""

    async def create(self, *, name: str, type: str, config: dict[str, Any]) -> models.Provider:
        """Declares and starts one."""
        return await self._do(api.provider_create(name, type, config))

    async def get(self, name: str) -> models.Provider:
        """One provider, by name or id."""
        return await self._do(api.provider("GET", name))

    async def pause(self, name: str) -> models.Provider:
        """Drains it; nothing more goes through it."""
        return await self._do(api.provider("POST", name, "/pause"))

    async def resume(self, name: str) -> models.Provider:
        """Starts it again."""
        return await self._do(api.provider("POST", name, "/resume"))

    async def delete(self, name: str) -> None:
        """Drains and removes it."""
        await self._do(api.provider("DELETE", name))

    def templates(self, name: str) -> AsyncIterator[models.Template]:
        """The templates that its carrier has now, by name and language, with the state of their approval."""
        return self._transport.each(api.templates_path(name), models.Template, {})

    async def upload(self, name: str, data: bytes, media_type: str) -> models.Media:
        """Gives its carrier a file, to be named by `id` in a content. Repeated by itself only where none was made."""
        return await self._do(api.media_upload(name, data, media_type))

    def list(self) -> AsyncIterator[models.Provider]:
        """Providers with the state of their links."""
        return self._transport.each("/v1/providers", models.Provider, {})


class Routes(_Resource):
    """`/v1/routes`. A route is a dict as in the API: `name`, `targets`, and what it is for."""

    async def create(self, route: dict[str, Any]) -> models.Route:
        """Makes one."""
        return await self._do(api.route_create(route))

    async def get(self, name: str) -> models.Route:
        """One route, by name or id."""
        return await self._do(api.route("GET", name))

    async def replace(self, name: str, route: dict[str, Any]) -> models.Route:
        """Puts this one in its place."""
        return await self._do(api.route("PUT", name, route))

    async def delete(self, name: str) -> None:
        """Removes it."""
        await self._do(api.route("DELETE", name))

    def list(self) -> AsyncIterator[models.Route]:
        """All that may decide for the project's messages."""
        return self._transport.each("/v1/routes", models.Route, {})


class Suppressions(_Resource):
    """`/v1/suppressions`."""

    async def add(self, to: str, *, channel: str = "sms", reason: str = "manual") -> models.Suppression:
        """Nobody writes to them any more."""
        return await self._do(api.suppression_add(to, channel, reason))

    async def lift(self, to: str, *, channel: str = "sms") -> None:
        """They may be written to again."""
        await self._do(api.suppression_lift(to, channel))

    def list(self) -> AsyncIterator[models.Suppression]:
        """All of them."""
        return self._transport.each("/v1/suppressions", models.Suppression, {})


class Projects(_Resource):
    """`/v1/projects`: tenants. Only a live `*` key of the first project makes them."""

    async def create(self, *, name: str) -> models.Project:
        """Makes a tenant, without keys: `keys.create(project=…)` makes those."""
        return await self._do(api.project_create(name))

    def list(self) -> AsyncIterator[models.Project]:
        """Projects that this key may see, newest first."""
        return self._transport.each("/v1/projects", models.Project, {})


class Receipts(_Resource):
    """`/v1/receipts`."""

    def unmatched(self) -> AsyncIterator[models.Receipt]:
        """What carriers reported that matches no attempt, newest first."""
        return self._transport.each("/v1/receipts", models.Receipt, {"matched": "false"})


class Verifications(_Resource):
    """`/v1/verifications`."""

    async def start(self, *, idempotency_key: str | None = None, **request: Any) -> models.Verification:
        """Sends a code: to, channel or channels, locale, brand, text, code_length, valid_for_s, reference …"""
        return await self._do(api.verification_start(words(request), idempotency_key))

    async def check(self, verification_id: str, code: str, *, idempotency_key: str | None = None) -> models.Check:
        """Whether the code is right: `valid` says so, and only for this call."""
        return await self._do(api.verification_check(verification_id, code, idempotency_key))

    async def resend(self, verification_id: str, *, channel: str | None = None) -> models.Verification:
        """Sends the same code again, by all its channels in turn or by one of them."""
        return await self._do(api.verification_resend(verification_id, channel))

    async def cancel(self, verification_id: str) -> models.Verification:
        """Its code is worth nothing any more."""
        return await self._do(api.verification_cancel(verification_id))

    async def get(self, verification_id: str) -> models.Verification:
        """One verification."""
        return await self._do(api.verification(verification_id))

    async def sandbox_code(self, verification_id: str) -> str:
        """The code, with a test key: for tests of your own."""
        return (await self._do(api.verification_code(verification_id))).code

    async def stats(
        self, *, since: str | dt.datetime | None = None, until: str | dt.datetime | None = None
    ) -> models.VerificationStats:
        """How verifications went, by channel and country; without `since` those of the last 24 hours."""
        return await self._do(api.verification_stats(since, until))

    def list(self, **filters: Any) -> AsyncIterator[models.Verification]:
        """Verifications, newest first: status, reference, to."""
        return self._transport.each("/v1/verifications", models.Verification, filters)

    async def allow(self, prefix: str) -> models.AllowedPrefix:
        """Numbers that begin so are past the pumping guard."""
        return await self._do(api.prefix_allow(prefix))

    async def disallow(self, prefix: str) -> None:
        """They are guarded again."""
        await self._do(api.prefix_disallow(prefix))

    def prefixes(self) -> AsyncIterator[models.AllowedPrefix]:
        """The allowed ones."""
        return self._transport.each("/v1/verifications/prefixes", models.AllowedPrefix, {})


class AsyncTidings:
    """A client of one server with one key. Use it as a context manager, or call `close`."""

    def __init__(self, api_key: str, base_url: str = "http://127.0.0.1:8300", *, policy: Policy | None = None) -> None:
        transport = self._transport = _Transport(api_key, base_url, policy or Policy())
        self.messages, self.webhooks, self.keys = Messages(transport), Webhooks(transport), Keys(transport)
        self.providers, self.suppressions = Providers(transport), Suppressions(transport)
        self.routes = Routes(transport)
        self.projects, self.receipts = Projects(transport), Receipts(transport)
        self.verifications = Verifications(transport)

    async def __aenter__(self) -> "AsyncTidings":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    def inbound(self) -> AsyncIterator[models.Inbound]:
        """What people sent, newest first."""
        return self._transport.each("/v1/inbound", models.Inbound, {})

    async def mark_read(self, inbound_id: str) -> None:
        """Shows the person that it, and all they wrote before it, was read. Raises Conflict where the channel has no such thing."""
        await self._transport.do(api.inbound_read(inbound_id))

    async def health(self) -> models.Health:
        """`/readyz`, once. Raises ServerError with the reasons while the server should get no traffic."""
        return await self._transport.do(api.ready(), retries=0)

    async def stream(self, types: list[str] | None = None, after: int | None = None) -> AsyncIterator[models.Event]:
        """Events from now on (or behind `after`, a `seq`), for ever; goes on where it was when the connection breaks.

        Each comes at least once. Raises ApiError, and ConnectionFailed if the server was never reached.
        """
        transport = self._transport
        follower = Follower(transport.key, transport.policy, types, after)
        url = url_of(transport.base_url, follower.call)
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        while True:
            try:
                async with transport.session.get(
                    url, headers=follower.headers(), timeout=limit, allow_redirects=False
                ) as answer:
                    if answer.status == 200:
                        follower.opened(answer.headers.get("Content-Type"))
                        async for chunk in answer.content.iter_any():
                            for event in follower.feed(chunk):
                                yield event
                        pause = follower.broken("the server closed the stream")
                    else:
                        after_s = answer.headers.get("Retry-After")
                        pause = follower.refused(answer.status, after_s, await answer.read())
            except (aiohttp.ClientError, TimeoutError) as error:
                pause = follower.broken(f"{transport.base_url}: {error}")
            await asyncio.sleep(pause)
