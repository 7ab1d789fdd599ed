"""`/v1/keys` and `/v1/projects`: who may call, and for whom."""

import datetime as dt
from typing import Annotated, Literal

import msgspec
from litestar import Response, Router
from litestar.params import FromPath
from msgspec import Meta

from tidings.domain import smpp_login
from tidings.domain.errors import FieldError, Forbidden, NotFound
from tidings.domain.request import millis
from tidings.http import paging
from tidings.http.auth import GRANTABLE, Caller, Keys, expand, new_key, new_token
from tidings.http.body import invalid
from tidings.http.problem import field_error
from tidings.http.route import Call, answer, body_of, claim_of, no_content, query_of, route, services, settle_claim
from tidings.http.v1.inbound import ListQuery
from tidings.http.views import KeyView, NewKeyView, ProjectView, key_view, project_view
from tidings.kit.ids import new_id
from tidings.store.accounts import NewKey, NewProject, StoredProject

Name = Annotated[str, Meta(min_length=1, max_length=100)]


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made. It can do no more, nor live longer, than the key that makes it."""

    name: Name
    mode: Literal["live", "test"]
    scopes: Annotated[list[str], Meta(min_length=1, max_length=50)]
    expires_at: Annotated[dt.datetime, Meta(tz=True)] | None = None
    project: str | None = None


class ProjectRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project (tenant) to be made."""

    name: Name


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """Keys, newest first."""

    data: list[KeyView]
    next_cursor: str | None


class ProjectPage(msgspec.Struct, frozen=True, kw_only=True):
    """Projects, newest first."""

    data: list[ProjectView]
    next_cursor: str | None


def _check(request: KeyRequest) -> list[FieldError]:
    return [
        field_error(f"/scopes/{n}", "unknown_scope", f"is no scope; known are {', '.join(sorted(GRANTABLE))}")
        for n, scope in enumerate(request.scopes)
        if scope not in GRANTABLE
    ]


def _may_grant(caller: Caller, wanted: KeyRequest, now_ms: int) -> None:
    """Raises unless the new key stays within what the caller may do."""
    beyond = sorted(expand(wanted.scopes) - caller.scopes)
    if beyond:
        raise Forbidden(f"this key cannot grant what it does not have itself: {', '.join(beyond)}")
    if wanted.mode == "live" and caller.mode != "live":
        raise Forbidden("a test key cannot make a live one")
    if wanted.project not in (None, caller.project) and not caller.platform:
        raise Forbidden('only a live "*" key of the first project makes keys for other projects')
    expires_ms = millis(wanted.expires_at)
    if expires_ms is not None and expires_ms <= now_ms:
        raise invalid([field_error("/expires_at", "past", "must be in the future")])
    if expires_ms is not None and caller.expires_ms is not None and expires_ms > caller.expires_ms:
        raise Forbidden("the new key would outlive the key that makes it; choose an earlier `expires_at`")


@route(
    "POST", "/v1/keys", scope="keys:write", summary="Make a key", body=KeyRequest, answers={201: NewKeyView},
    problems=(404, 422, 507), idempotent=True,
    description="`key` is in this answer only (and in a replay of it, with the same Idempotency-Key).",
)  # fmt: skip
async def create_key(request: Call) -> Response[bytes]:
    """The secret part of a key made with an Idempotency-Key is derived, so that a replay gives the same one unstored."""
    spare = {"name": "x", "mode": "test", "scopes": ["*"]}
    wanted, back, caller = await body_of(request, KeyRequest, _check, spare), services(request), request.auth
    now_ms = back.now()
    _may_grant(caller, wanted, now_ms)
    project = wanted.project or caller.project
    if project != caller.project and not await back.store.keys.projects(project, None, 1):
        raise NotFound("there is no such project")
    claim = await claim_of(request, new_id("key"))
    token = new_token(wanted.mode) if claim is None else _derived(request, wanted.mode, claim.resource)
    key = new_key(token, project, wanted.name, wanted.scopes, now_ms)
    expires_ms = millis(wanted.expires_at) or caller.expires_ms
    key = msgspec.structs.replace(key, id=claim.resource if claim else key.id, expires_ms=expires_ms)
    resource, replayed = settle_claim(await back.store.keys.create(NewKey(key=key, claim=claim)))
    found = key
    if replayed:
        found = await back.store.keys.get(project, resource) or key
        token = _derived(request, wanted.mode, resource)
    smpp = {"system_id": smpp_login.system_id(resource), "password": smpp_login.password(back.ring, resource)}
    return answer({**key_view(found), "key": token, "smpp": smpp}, 201, replayed=replayed)


def _derived(request: Call, mode: str, id: str) -> str:
    ring = services(request).ring
    return f"tk_{mode}_{ring.lookup(f'api key {id} 1')}{ring.lookup(f'api key {id} 2')[:16]}"


@route("GET", "/v1/keys", scope="keys:read", summary="List keys", query=ListQuery, answers={200: KeyPage})
async def list_keys(request: Call) -> Response[bytes]:
    """One page."""
    asked, project = query_of(request, ListQuery), request.auth.project
    before = paging.decode_cursor(asked.cursor)
    found = await services(request).store.keys.page(project, before, asked.limit + 1)
    return answer(paging.page([key_view(item) for item in found], asked.limit, [item.id for item in found]))


@route("GET", "/v1/keys/{key_id:str}", scope="keys:read", summary="Read a key", answers={200: KeyView}, problems=(404,))
async def read_key(request: Call, key_id: FromPath[str]) -> Response[bytes]:
    """Without its secret."""
    project = request.auth.project
    found = await services(request).store.keys.get(project, key_id)
    if found is None:
        raise NotFound("there is no such key in this project")
    return answer(key_view(found))


@route(
    "DELETE", "/v1/keys/{key_id:str}", scope="keys:write", summary="Revoke a key", answers={204: None}, problems=(404, 507),
    description="Takes effect at once. Revoking twice is the same as once.",
)  # fmt: skip
async def revoke_key(request: Call, key_id: FromPath[str]) -> Response[bytes]:
    """The key is kept, as revoked."""
    back = services(request)
    found = await back.store.keys.revoke(request.auth.project, key_id, back.now())
    if found is None:
        raise NotFound("there is no such key in this project")
    keys: Keys = request.app.state.api_keys
    keys.forget(found.hash)
    return no_content()


@route(
    "GET", "/v1/projects", scope="projects:read", summary="List projects", query=ListQuery, answers={200: ProjectPage},
    description='The project of the key; a live "*" key of the first project sees all.',
)  # fmt: skip
async def list_projects(request: Call) -> Response[bytes]:
    """One page."""
    asked = query_of(request, ListQuery)
    only, before = None if request.auth.platform else request.auth.project, paging.decode_cursor(asked.cursor)
    found = await services(request).store.keys.projects(only, before, asked.limit + 1)
    return answer(paging.page([project_view(item) for item in found], asked.limit, [item.id for item in found]))


@route(
    "POST", "/v1/projects", scope="projects:write", summary="Make a project", body=ProjectRequest,
    answers={201: ProjectView}, problems=(422, 507), idempotent=True,
    description='Needs a live "*" key of the first project. Then make its keys with `POST /v1/keys {"project": …}`.',
)  # fmt: skip
async def create_project(request: Call) -> Response[bytes]:
    """A new tenant, without keys."""
    if not request.auth.platform:
        raise Forbidden('only a live "*" key of the first project makes projects')
    wanted, back = await body_of(request, ProjectRequest), services(request)
    project = StoredProject(id=new_id("prj"), name=wanted.name, created_ms=back.now())
    new = NewProject(project=project, claim=await claim_of(request, project.id))
    id, replayed = settle_claim(await back.store.keys.create_project(new))
    found = await back.store.keys.projects(id, None, 1)
    return answer(project_view(found[0]), 201, replayed=replayed)


router = Router("/", route_handlers=[create_key, list_keys, read_key, revoke_key, list_projects, create_project])
