"""schemathesis, which others wrote, over the whole OpenAPI document against the real server: no 500, nothing undocumented."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi import checks

CHECKS: list[CheckFunction] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
#: Answers without end: `test_api.py` reads it.
ENDLESS = "/v1/stream"
#: Requests for each operation and each way to make them (by the schema, against it).
EXAMPLES = int(os.environ.get("TIDINGS_SCHEMATHESIS_EXAMPLES", "12"))


def _probe(operation: Any, mode: GenerationMode, key: str, answered: list[int]) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def probe(case: Any) -> None:
        response = case.call_and_validate(
            headers={"Authorization": f"Bearer {key}"}, checks=CHECKS, timeout=60
        )  # fmt: skip
        answered.append(response.status_code)

    probe()


@pytest.mark.timeout(500)
def test_every_operation_keeps_its_word(server: Any) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json").exclude(path=ENDLESS)
    broken, answered, operations = [], [], 0
    for found in schema.get_all_operations():
        operation = found.ok()
        operations += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
                continue
            try:
                _probe(operation, mode, server.test_key, answered)
            except BaseExceptionGroup as failures:
                broken.append(f"{operation.label} ({mode.value}): {failures.exceptions[:3]}")
            except Exception as failure:
                broken.append(f"{operation.label} ({mode.value}): {failure!r} {failure}")
    assert not broken, "\n\n".join(broken)
    assert operations >= 35
    assert {200, 201, 202, 404, 422} <= set(answered), "the requests reached nothing"


def test_an_undocumented_status_would_be_noticed(server: Any) -> None:
    document = server.call("GET", "/openapi.json", key=None).json
    path = "/v1/messages/{message_id}"
    del document["paths"][path]["get"]["responses"]["404"]
    loaded = schemathesis.openapi.from_dict(document)
    loaded.config.update(base_url=server.url)
    with pytest.raises(BaseException, match="Undocumented status code"):
        _probe(loaded[path]["GET"], GenerationMode.POSITIVE, server.test_key, [])
