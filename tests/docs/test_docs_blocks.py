"""Every code block of README.md and docs/ is run, or at least parsed, so that the documentation cannot go stale.

`bash` and `python` blocks run in order, file by file, against a real server, in a scratch folder and with TIDINGS_URL,
TIDINGS_API_KEY and the virtual environment's PATH. `make` lines only have to name a target of the Makefile: running
`make test` in a test would never end. Clones and changes of folder belong to the reader's machine and are left out,
and so are lines that start the server, which is already up.
`json` and `toml` blocks must parse.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
API_KEY = "tk_test_" + "docsdocsdocsdocsdocsdocsdocsdocs"
START_TIMEOUT_S = 30.0
BLOCK_TIMEOUT_S = 60.0
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]+)?[^\n]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.M | re.S)
_LANGUAGES = {"bash", "json", "python", "text", "toml"}
_READER_ONLY = ("git clone", "cd ", "tidings serve", ".venv/bin/tidings serve")


class Block(NamedTuple):
    """One fenced block; `line` counts from 1 and names the opening fence."""

    file: Path
    line: int
    language: str
    body: str

    @property
    def where(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


class Server(NamedTuple):
    """A running `tidings serve` and the environment in which the blocks run."""

    env: dict[str, str]
    folder: Path


def read_blocks(file: Path) -> list[Block]:
    """The fenced blocks of a Markdown file, in order."""
    text = file.read_text()
    blocks: list[Block] = []
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        body = "".join(line.removeprefix(indent) for line in match["body"].splitlines(keepends=True))
        blocks.append(Block(file, text.count("\n", 0, match.start()) + 1, match["language"] or "", body))
    return blocks


def split_bash(body: str) -> tuple[str, list[str]]:
    """The script to run, and the make targets that the block names."""
    kept: list[str] = []
    targets: list[str] = []
    for line in body.splitlines():
        command = line.strip()
        if command.startswith("make "):
            words = command.split("#")[0].split()[1:]
            targets += [word for word in words if "=" not in word and not word.startswith("-")]
        elif not command.startswith(_READER_ONLY):
            kept.append(line)
    return "\n".join(kept), targets


def make_targets() -> set[str]:
    """What the Makefile can make."""
    rules = re.findall(r"^([a-z][a-z ]*):(?!=)", (ROOT / "Makefile").read_text(), re.M)
    return {target for rule in rules for target in rule.split()}


FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [block for file in FILES for block in read_blocks(file)]
RUN = [block for block in BLOCKS if block.language in ("bash", "python")]
PARSED = [block for block in BLOCKS if block.language in ("json", "toml")]


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"tidings serve ended with {process.returncode}:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=30):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"tidings serve was not ready after {START_TIMEOUT_S:.0f} s:\n{log.read_text()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, unused_port: int) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("docs")
    url = f"http://127.0.0.1:{unused_port}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    env |= {"TIDINGS_URL": url, "TIDINGS_API_KEY": API_KEY, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    (folder / ".venv").symlink_to(BIN.parent)  # for blocks that say .venv/bin/tidings
    log = folder / "serve.log"
    command = [BIN / "tidings", "serve", "--data", folder / "data", "--listen", f"127.0.0.1:{unused_port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
    try:
        _wait_ready(url, process, log)
        yield Server(env, folder)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@pytest.mark.parametrize("block", RUN, ids=[block.where for block in RUN])
def test_block_runs(block: Block, server: Server) -> None:
    script, targets = (block.body, []) if block.language == "python" else split_bash(block.body)
    unknown = set(targets) - make_targets()
    assert not unknown, f"{block.where}: the Makefile has no target {', '.join(sorted(unknown))}"
    if not script.strip():
        return
    command = [sys.executable, "-"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command,
        input=script if block.language == "python" else "",
        cwd=server.folder,
        env=server.env,
        capture_output=True,
        text=True,
        timeout=BLOCK_TIMEOUT_S,
    )
    assert done.returncode == 0, f"{block.where}\n{script}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"


def test_data_blocks_parse() -> None:
    broken: list[str] = []
    for block in PARSED:
        try:
            (json.loads if block.language == "json" else tomllib.loads)(block.body)
        except ValueError as error:
            broken.append(f"{block.where}: {error}")
    assert not broken, "\n".join(broken)


def test_readme_shows_the_first_message() -> None:
    """Without blocks to run the tests above would pass for nothing."""
    languages = {block.language for block in RUN if block.file.name == "README.md"}
    assert languages == {"bash", "python"}


def test_no_block_hides() -> None:
    """An unclosed fence would swallow the blocks behind it; a block in no or another language would never be run."""
    for file in FILES:
        fences = re.findall(r"^ *```", file.read_text(), re.M)
        blocks = [block for block in BLOCKS if block.file == file]
        assert len(fences) == 2 * len(blocks), f"{file.name}: a fence is not closed"
        others = {block.language for block in blocks} - _LANGUAGES
        assert not others, f"{file.name}: a block's language is one of {sorted(_LANGUAGES)}, not {sorted(others)}"


@pytest.mark.parametrize(
    ("body", "script", "targets"),
    [
        ("git clone x\ncd x\nmake setup demo\n", "", ["setup", "demo"]),
        ("make demo ARGS=--once # ends by itself", "", ["demo"]),
        ("curl -s $TIDINGS_URL/healthz\nmake test", "curl -s $TIDINGS_URL/healthz", ["test"]),
    ],
)
def test_bash_is_split(body: str, script: str, targets: list[str]) -> None:
    assert split_bash(body) == (script, targets)


def test_fences_are_found_in_lists_too(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# T\n\n1. so\n\n   ```bash\n   echo a\n     b\n   ```\n\n```toml title=x\na = 1\n```\n")
    found = [(block.line, block.language, block.body) for block in read_blocks(file)]
    assert found == [(5, "bash", "echo a\n  b\n"), (10, "toml", "a = 1\n")]
