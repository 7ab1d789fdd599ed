"""Mutated PDUs, guided by coverage (atheris), through the codec and whole sessions of both sides.

12,000 inputs in `make test`, a million in `make fuzz`; each holds one PDU or several. The corpus that it begins with is
kept in `corpus/`; TIDINGS_FUZZ_CORPUS=folder keeps what a campaign finds beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CAMPAIGN = os.environ.get("TIDINGS_CAMPAIGN") == "1"
RUNS = int(os.environ.get("TIDINGS_FUZZ_RUNS", "1000000" if CAMPAIGN else "12000"))
SEED = int(os.environ.get("TIDINGS_SEED", "20261124"))
HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
RSS_MB = 400
#: What the process may grow by after its first 5,000 inputs: coverage tables and the corpus found, no more.
GROWTH_MB = 100


def fuzz(folder: Path, runs: int, **env: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Runs the target from the kept corpus; new inputs and crashes go to `folder`. The process, and its figures."""
    found = Path(os.environ.get("TIDINGS_FUZZ_CORPUS") or folder / "found")
    found.mkdir(parents=True, exist_ok=True)
    stats = folder / "stats.json"
    command = [
        sys.executable, "-m", "fuzz.target", str(found), str(CORPUS), f"-runs={runs}", f"-seed={SEED}", "-max_len=800",
        "-timeout=20", f"-dict={HERE / 'smpp.dict'}", f"-rss_limit_mb={RSS_MB}", "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=HERE.parent, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "FUZZ_STATS": str(stats), **env}, timeout=None if CAMPAIGN else 390,
    )  # fmt: skip
    return done, json.loads(stats.read_text()) if stats.exists() else {}


@pytest.mark.timeout(0 if CAMPAIGN else 400)
def test_only_typed_errors_and_bounded_memory(tmp_path: Path) -> None:
    done, counts = fuzz(tmp_path, RUNS)
    last = done.stderr[-6000:]
    assert done.returncode == 0, f"{last}\n{done.stdout[-3000:]}"
    cover = next((line for line in reversed(done.stderr.splitlines()) if "DONE" in line), "")
    print(f"\natheris: seed={SEED} inputs={RUNS} {counts} {cover.strip()}")
    assert counts["inputs"] >= RUNS - 2_000  # an input too short for a PDU is not counted
    assert counts["pdus"] >= RUNS, "most inputs should hold a PDU that is framed"
    assert counts["receipts"] > RUNS // 200, "it no longer reaches the receipts"
    assert counts["rss_mb"] - counts["rss_mb_at_first"] <= GROWTH_MB


@pytest.mark.timeout(400)
def test_the_fuzzer_would_notice(tmp_path: Path) -> None:
    """A codec that takes SAR_TOTAL_SEGMENTS for an index: an IndexError that one TLV of the right size brings out."""
    done, _ = fuzz(tmp_path, 60_000, FUZZ_PLANT="1")
    assert done.returncode != 0
    assert "IndexError" in done.stdout + done.stderr
    assert list(tmp_path.glob("crash-*")), "the input that does it is kept"


def test_the_corpus_is_small() -> None:
    files = list(CORPUS.iterdir())
    assert 50 <= len(files) <= 200
    assert sum(file.stat().st_size for file in files) <= 300_000
