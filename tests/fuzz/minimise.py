"""Chooses the corpus that is kept: `python -m fuzz.minimise FOLDER…` in tests/ writes the smallest inputs that together
reach everything that the files in the folders (and the kept corpus) reach. What is reached: pairs of lines, one after the
other, and how often (to the next power of two).
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz import target

CORPUS = Path(__file__).parent / "corpus"
MOST_FILES, MOST_BYTES = 200, 300_000
_ROOMS = ("/tidings/protocols/", "/tidings/channels/sms/", "/tidings/sandbox/", "/tidings/smppd/")

Step = tuple[int, int, int, int]


def reached(data: bytes) -> set[Step]:
    """The steps that one input makes."""
    steps: Counter[tuple[int, int, int]] = Counter()
    last: dict[int, int] = {}

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            code = id(frame.f_code)
            steps[code, last.get(code, 0), frame.f_lineno] += 1
            last[code] = frame.f_lineno
        return local

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        if not any(room in frame.f_code.co_filename for room in _ROOMS):
            return None
        last.pop(id(frame.f_code), None)
        return local

    sys.settrace(enter)
    try:
        target.one_input(data)
    finally:
        sys.settrace(None)
    return {(*step, count.bit_length()) for step, count in steps.items()}


def main() -> None:
    inputs = {path.read_bytes() for folder in [CORPUS, *map(Path, sys.argv[1:])] for path in folder.iterdir()}
    reach = {data: reached(data) for data in sorted(inputs, key=lambda data: (len(data), data))}
    left, chosen, size = set[Step]().union(*reach.values()), list[bytes](), 0
    whole = len(left)
    while left and len(chosen) < MOST_FILES:
        best = max(reach, key=lambda data: (len(reach[data] & left) / (40 + len(data)), -len(data), data))
        if size + len(best) > MOST_BYTES:
            break
        left -= reach.pop(best)
        chosen.append(best)
        size += len(best)
    for old in CORPUS.iterdir():
        old.unlink()
    for data in chosen:
        (CORPUS / hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]).write_bytes(data)
    print(f"{len(chosen)} of {len(inputs)} inputs, {size} bytes, {whole - len(left)} of {whole} steps")


if __name__ == "__main__":
    main()
