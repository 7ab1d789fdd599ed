"""That both engines are judged by the same cases, and none of them is skipped."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from store_world import ENGINES

_CASE = re.compile(r"\[(.*)\]$")
_HERE = Path(__file__).parent


def cases(items: list[pytest.Item]) -> dict[str, set[str]]:
    """The cases of this folder's store tests, by engine."""
    found: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.path.parent != _HERE or "world" not in getattr(item, "fixturenames", ()):
            continue
        words = _CASE.findall(item.name)[0].split("-")
        engine = next(word for word in words if word in ENGINES)
        words.remove(engine)
        found[engine].add(f"{item.path.name}::{item.name.split('[')[0]}[{'-'.join(words)}]")
        assert not {"skip", "skipif", "xfail"} & {mark.name for mark in item.iter_markers()}, item.nodeid
    return found


def test_the_same_cases_on_both_engines(request: pytest.FixtureRequest) -> None:
    found = cases(request.session.items)
    others = {item.path.name for item in request.session.items if item.path.parent == _HERE} - {Path(__file__).name}
    assert bool(found) == any(name.startswith("test_stores") for name in others)
    assert found["sqlite"] == found["postgres"]


def test_every_store_test_takes_both_engines() -> None:
    files = sorted(_HERE.glob("test_stores*.py"))
    assert len(files) >= 4
    for file in files:
        if file.name == Path(__file__).name:
            continue
        text = file.read_text()
        tests = re.findall(r"^(?:async )?def (test_\w+)\((.*)$", text, re.MULTILINE)
        assert tests
        for name, parameters in re.findall(r"^(?:async )?def (test_\w+)\(([^)]*)\)", text, re.MULTILINE):
            assert "world: World" in parameters, f"{file.name}::{name} does not run on both engines"
        assert "pytest.skip" not in text
        assert "mark.skip" not in text
        assert "xfail" not in text
