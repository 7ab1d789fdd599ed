"""Runs seeds. `python -m simulation.run SEED` (in tests/) replays one and prints its trace, `--digest` only its hash."""

from __future__ import annotations

import gc
import logging
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tidings.store.sqlite.engine import Engine
from tidings.store.sqlite.migrate import migrate

from . import script
from .clockwork import VirtualLoop
from .judge import problems
from .world import PROJECT, World, staged


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a seed. `digest` is the hash of its trace: two runs of one seed have the same."""

    seed: int
    digest: str
    problems: tuple[str, ...]
    counts: dict[str, int]


def play(seed: int, folder: Path, *, trace: list[str] | None = None) -> Verdict:
    """One seed, in `folder` (which holds the empty database that `stage` made)."""
    path = folder / "run" / "tidings.db"
    path.parent.mkdir(exist_ok=True)
    for old in path.parent.iterdir():
        old.unlink()
    shutil.copyfile(folder / "empty.db", path)
    loop = VirtualLoop()
    world = World(seed, script.write(seed), path, loop)
    world.trace = trace
    try:
        with staged(world):
            loop.run_until_complete(world.play())
        wrong = tuple(problems(world))
    finally:
        loop.close()
    counts = {
        "messages": len(world.sent), "submits": world.writes, "crashes": world.crashes, "commits": world.commits,
        "unknowns": world.unknowns.total(), "stops": len(world.stops), **world.errors,
    }  # fmt: skip
    return Verdict(seed=seed, digest=world.digest, problems=wrong, counts=counts)


def stage(folder: Path) -> None:
    """The empty database that every run begins with."""
    engine = Engine(folder / "new" / "empty.db", synchronous="OFF")
    engine.open()
    migrate(engine.writer)
    engine.writer.execute("insert into projects values (?, 'simulation', 0)", (PROJECT,))
    engine.close()
    shutil.move(folder / "new" / "empty.db", folder / "empty.db")


def memory_folder() -> Path:
    """A new folder in memory, where the machine has one: no run needs a disk."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="tidings-sim-", dir=shared if shared.is_dir() else None))


def play_all(seeds: Iterable[int], *, stop_at: int = 5) -> tuple[list[Verdict], Counter[str]]:
    """Plays them one after the other: the verdicts that are red (no more than `stop_at`), and sums of all counts."""
    folder, red, sums = memory_folder(), list[Verdict](), Counter[str]()
    logging.disable(logging.ERROR)  # a disk that is full says so a thousand times
    gc.disable()  # what a run leaves behind is swept between runs, at a known moment
    try:
        stage(folder)
        for n, seed in enumerate(seeds):
            verdict = play(seed, folder)
            sums.update(verdict.counts)
            sums["seeds"] += 1
            if verdict.problems:
                red.append(verdict)
                if len(red) >= stop_at:
                    break
            if n % 20 == 0:
                sweep_up()
    finally:
        sweep_up()
        gc.enable()
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder)
    return red, sums


def sweep_up() -> None:
    """Tasks of crashed nodes are dropped while pending: that is what a crash is, and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def main() -> None:
    seed, lines = int(sys.argv[1]), list[str]()
    folder = memory_folder()
    try:
        stage(folder)
        verdict = play(seed, folder, trace=lines)
    finally:
        shutil.rmtree(folder)
    if "--digest" in sys.argv:
        print(verdict.digest)
        return
    print("\n".join(lines))
    print(verdict)


if __name__ == "__main__":
    main()
