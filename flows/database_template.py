"""A migrated database for Prefect servers to begin with: migrating takes most of a cold start."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import zlib
from importlib.metadata import version
from pathlib import Path

VARIABLE = "COS_CUSTOMIZER_PREFECT_TEMPLATE"
"""Environment variable with the path of a migrated database (a container image brings one along)."""


def cached() -> Path:
    """Where the one of this user lies, if there is one; may begin with `~`."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache, "cos-customizer", f"prefect-{version('prefect')}.db")


def copy_to(database: Path) -> bool:
    """Begin with a migrated database, if there is one.

    Args:
        database: the file to write.

    Returns:
        Whether it is there now, migrated for the installed Prefect.
    """
    baked = os.environ.get(VARIABLE)
    for template in (*([Path(baked)] if baked else []), cached()):
        with contextlib.suppress(OSError, RuntimeError, sqlite3.Error):
            shutil.copyfile(template.expanduser(), database)
            with contextlib.closing(sqlite3.connect(database)) as connection:
                if connection.execute("PRAGMA user_version").fetchone()[0] == _mark():
                    return True
        database.unlink(missing_ok=True)
    return False


def keep(database: Path, template: Path) -> None:
    """Copy a live database, whole or not at all.

    Args:
        database: of a server that runs.
        template: the file to write.

    Raises:
        OSError: it cannot be written.
        sqlite3.Error: the database cannot be read.
    """
    template.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{template.name}.", dir=template.parent)
    os.close(descriptor)
    try:
        with (
            contextlib.closing(sqlite3.connect(database)) as source,
            contextlib.closing(sqlite3.connect(name)) as target,
        ):
            source.backup(target)
            target.execute(f"PRAGMA user_version = {_mark()}")
            target.execute("PRAGMA journal_mode = DELETE")
            target.commit()
        Path(name).replace(template)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _mark() -> int:
    """What marks a database as migrated for the installed Prefect."""
    return zlib.crc32(version("prefect").encode()) & 0x7FFFFFFF
