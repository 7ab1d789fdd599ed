"""The table of command_status covers the specification, and says one thing for each."""

import pytest

from tidings.channels.sms.smpp_errors import TABLE, error_of, refusal_of, status_of
from tidings.domain.attempt import PartRefused, PartRetry
from tidings.protocols.smpp.constants import Status


def test_the_whole_specification_is_covered_under_its_names() -> None:
    assert {code: row.name for code, row in TABLE.items()} == {
        int(status): status.name for status in Status if status is not Status.ESME_ROK
    }


@pytest.mark.parametrize(("code", "row"), TABLE.items(), ids=[row.name for row in TABLE.values()])
def test_rows(code: int, row: object) -> None:
    status = status_of(code)
    assert status is row
    assert status.code == status.code.lower().replace(" ", "_")
    assert status.detail.endswith(".")
    error = error_of(code)
    assert error.permanent is not error.retryable
    assert error.permanent is (status.meaning == "permanent")
    assert isinstance(refusal_of(code), PartRefused if error.permanent else PartRetry)
    assert error.spec == "SMPP 3.4 §5.1.3"


@pytest.mark.parametrize(
    ("code", "name"), [(0x400, "vendor_error"), (0x4FF, "vendor_error"), (0x12345, "unknown_error")]
)
def test_codes_outside_the_table_are_tried_again(code: int, name: str) -> None:
    part = refusal_of(code)
    assert isinstance(part, PartRetry)
    assert part.error.code == name
    assert part.error.provider_code == f"0x{code:08X}"
