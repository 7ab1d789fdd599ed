"""`tidings backup` and `tidings restore`: on the machine of the database, as nobody else can write its files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidings.commands.server import ConfigFile, Data
from tidings.commands.session import AsJson, Failure, console, show_json
from tidings.domain.errors import SettingsError, TidingsError
from tidings.kit.clock import wall_ms

if TYPE_CHECKING:
    from tidings.store.sqlite.archive import Manifest
    from tidings.store.sqlite.restore import Choice, Found

_JOBS = ("hold", "resume", "fail")
_SHOWN = 8
Jobs = Annotated[
    str | None,
    typer.Option(
        "--jobs",
        help="What becomes of messages that were still to be sent: hold (default), resume, fail. They may have been sent"
        " after the backup was made.",
    ),
]


def backup(
    file: Annotated[Path, typer.Argument(help="Where the backup goes; it appears whole, or not at all.")],
    with_keys: Annotated[
        bool,
        typer.Option("--with-keys", help="Put the key ring in too: whoever has the file can then read everything."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    data: Data = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Back up the database, while the server runs or not. Without its keys a backup cannot be read: keep them apart."""
    from tidings.store.sqlite import archive

    folder = _folder(config, data)
    database, keys = folder / archive.DATABASE, folder / archive.KEYS
    if not database.is_file():
        raise Failure(f"there is no database in {folder}: name the server's directory with --data")
    if with_keys and not keys.is_file():
        raise Failure(f"there is no {archive.KEYS} in {folder}")
    if file.exists() and not force:
        raise Failure(f"{file} exists: choose another name, or --force")
    try:
        manifest = archive.write(database, file.resolve(), keys if with_keys else None, wall_ms())
    except (TidingsError, OSError) as error:
        raise Failure(str(error)) from error
    if as_json:
        show_json(manifest)
        return
    console.print(f"{file}  {_size(manifest.size_bytes)}, {_rows(manifest.tables)}", highlight=False, soft_wrap=True)
    if not with_keys and manifest.key_ids:
        told = f"The keys are not in it. Keep {keys} apart and safe: without it nobody can read the backup."
        console.print(told, highlight=False, soft_wrap=True)


def restore(
    file: Annotated[
        Path | None, typer.Argument(help="A backup. Without it, --jobs decides about held messages.")
    ] = None,
    data: Data = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="The key ring (keys.json) if it is not in the backup.")
    ] = None,
    jobs: Jobs = None,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Check FILE and write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Into a directory that has a database; it is kept aside.")
    ] = False,
    unreadable: Annotated[
        bool, typer.Option("--allow-unreadable", help="Also without the right keys: addresses and texts are lost.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup: checked and recounted before anything changes. Messages that were waiting are held."""
    from tidings.store.sqlite import restore as work

    if jobs is not None and jobs not in _JOBS:
        raise typer.BadParameter(f"must be one of {', '.join(_JOBS)}", param_hint="--jobs")
    if keys is not None and not keys.is_file():
        raise typer.BadParameter(f"{keys}: no such file", param_hint="--keys")
    choice: Choice = jobs or "hold"
    try:
        if file is None:
            _decide(_folder(config, data), jobs, as_json)
        elif verify_only:
            _tell(work.verify(file.resolve(), keys), file, None, as_json)
        else:
            folder = _folder(config, data)
            found = work.restore(
                file, folder, keys=keys, force=force, unreadable=unreadable, choice=choice, now=wall_ms
            )
            _tell(found, file, folder, as_json)
    except (TidingsError, OSError) as error:
        raise Failure(str(error)) from error


def _decide(folder: Path, jobs: str | None, as_json: bool) -> None:
    from tidings.store.sqlite import archive
    from tidings.store.sqlite.restore import release

    if jobs not in ("resume", "fail"):
        raise typer.BadParameter("give FILE, or --jobs resume or fail for what an earlier restore holds")
    if not (folder / archive.DATABASE).is_file():
        raise Failure(f"there is no database in {folder}: name the server's directory with --data")
    resumed, failed = release(folder, jobs, wall_ms())
    if as_json:
        show_json({"resumed": resumed, "failed": failed})
    else:
        print(f"{resumed + failed} held message(s) {'will be sent' if resumed else 'failed: restored_unsent'}")


def _tell(found: "Found", file: Path, folder: Path | None, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        for line in _lines(found, file, folder):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    unread = found.sealed is not None and not found.readable
    if folder is None and (unread or not found.sound):  # a restore would have refused
        raise typer.Exit(1)


def _lines(found: "Found", file: Path, folder: Path | None) -> list[str]:
    manifest: Manifest = found.manifest
    lines = [f"{file}: Tidings {manifest.tidings}, schema {manifest.schema}, made {manifest.made_at}"]
    lines += [f"  recounted  {_rows(found.tables)}" + ("" if found.differences else ", as the manifest says")]
    lines += [f"  DIFFERS    {name}: {then} backed up, {now} here" for name, (then, now) in found.differences.items()]
    lines += ["  checked    integrity_check and foreign_key_check are clean"] if not found.problems else []
    lines += [f"  DAMAGED    {problem}" for problem in found.problems[:_SHOWN]]
    lines += _sealed_lines(found.sealed, manifest.key_ids)
    if folder is None:
        return [*lines, f"  waiting    {found.live_jobs} message(s) were still to be sent"]
    if found.held:
        lines.append(
            f"  held       {found.held} message(s) that may have been sent since: see `tidings restore --jobs`"
        )
    if found.failed:
        lines.append(f"  failed     {found.failed} message(s) that were still to be sent")
    if found.resumed:
        lines.append(f"  resumed    {found.resumed} message(s): some may be sent twice")
    if found.replaced:
        lines.append(f"  kept       what was there before is in {folder / found.replaced}")
    return [*lines, f"Restored into {folder}. Start it with: tidings serve --data {folder}"]


def _sealed_lines(sealed: dict[str, Any] | None, key_ids: list[str]) -> list[str]:
    if sealed is None:
        return ["  keys       not tried: give --keys"] if key_ids else []
    lines: list[str] = []
    opened = sum(table.opened for table in sealed.values())
    for table, found in sealed.items():
        if found.failed:
            why = f" (keys not in the ring: {', '.join(found.unknown_keys)})" if found.unknown_keys else ""
            lines.append(f"  UNREADABLE {table}: {found.failed} row(s){why}")
    return [f"  keys       {opened} sealed row(s) open with the key ring", *lines]


def _folder(config: Path | None, data: Path | None) -> Path:
    from tidings import settings

    if os.environ.get("TIDINGS_DATABASE_URL"):
        raise Failure(
            "TIDINGS_DATABASE_URL is set: back up PostgreSQL with its own tools, see docs/how-to/backup-and-upgrade.md"
        )
    try:
        return settings.load(config, data).data
    except SettingsError as error:
        raise Failure(str(error)) from error


def _rows(tables: dict[str, int]) -> str:
    most = sorted(tables.items(), key=lambda item: -item[1])[:3]
    told = ", ".join(f"{name} {count:,}" for name, count in most if count)
    return f"{sum(tables.values()):,} rows in {len(tables)} tables" + (f" ({told})" if told else "")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1_048_576:,.1f} MB" if size_bytes >= 1_048_576 else f"{size_bytes / 1024:,.0f} kB"
