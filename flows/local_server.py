"""A Prefect server of a build's own, for where no API is configured: up beside the imports, gone at the end.

Prefect is not imported here before the server's address is set. What a command then imports first, its server imports,
too: so a command that has no threads imports it once, and its server is a fork of it. Each server has a home directory
of its own, filled from a migrated database where there is one: migrating takes most of a cold start, and two builds on
one cold home get in each other's way.
"""

import contextlib
import errno
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.flows import database_template
from cos_customizer.flows.fork import Fork, may_fork
from cos_customizer.quick_imports import uncollected

_LARGEST_PROFILES = 1 << 20
"""Characters of a file of profiles that are read."""
_LOGGING = Path(__file__).with_name("prefect_logging.yaml")
_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "EVENT_LOGGER",
    "EVENT_PERSISTER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TASK_RUN_RECORDER",
    "TRIGGERS",
)
_ASKED = ("/flows", "/flow_runs", "/admin", "/events")
"""Where a build's requests go. FastAPI prepares the routes of one router after the other until it finds a request's."""
_throw_away: set[str] = set()
"""Addresses of this process's own servers."""
_STOP_PATIENCE = 5.0
"""Seconds that the server has for going by itself."""


class LocalServerError(CustomizerError):
    """The build's own Prefect server did not come up.

    Attributes:
        output: the last lines of its log.
    """

    def __init__(self, message: str, hint: str, output: tuple[str, ...]) -> None:
        super().__init__(message, hint)
        self.output = output


def configured_api() -> str | None:
    """The Prefect API that the environment or the active profile names, found without importing Prefect.

    Returns:
        Its URL, or None.

    Raises:
        UsageError: the file of profiles cannot be read.
    """
    if given := os.environ.get("PREFECT_API_URL"):
        return given
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect")
    file = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        profiles = tomllib.loads(_text_of(file.expanduser()))
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: there is no home directory
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"cannot read Prefect's profiles in {str(file)!r}: {error}", "set PREFECT_API_URL, or repair the file."
        ) from error
    try:
        active = profiles.get("profiles", {}).get(os.environ.get("PREFECT_PROFILE") or profiles.get("active"), {})
        url = active.get("PREFECT_API_URL") or None
    except (AttributeError, TypeError):
        url = profiles
    if not (url is None or isinstance(url, str)):
        raise UsageError(
            f"cannot read Prefect's profiles in {str(file)!r}: it has tables in other places than profiles have",
            "set PREFECT_API_URL, or repair the file.",
        )
    return url


def _text_of(file: Path) -> str:
    """What is in a file; of something that is none, such as a pipe, an error and not a wait."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    with file.open(encoding="utf-8") as stream:
        return stream.read(_LARGEST_PROFILES)


def is_throw_away() -> bool:
    """Whether the Prefect API in use is a `LocalServer` of this process, which nobody else sees and which goes soon."""
    return os.environ.get("PREFECT_API_URL", "") in _throw_away


def quiet_prefect() -> None:
    """Keep Prefect's log lines off the terminal; call it before Prefect is imported. A user's own setting wins."""
    os.environ.setdefault("PREFECT_LOGGING_SETTINGS_PATH", str(_LOGGING))


class LocalServer:
    """A Prefect server on a loopback port, and the settings of this process that lead to it.

    It answers nobody but those who have its credential, which is random and lies in the environment of this process
    and of what it starts; only whether it is healthy does it tell everybody.

    It goes when this process goes, whatever the way: it watches a pipe that only this process holds open.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | Fork | None = None
        self._home: Path | None = None
        self._port = 0
        self._cold = False
        self._credential = f"cos-customizer:{secrets.token_urlsafe(32)}"
        self._environment: dict[str, str] = {}

    def __enter__(self) -> "LocalServer":
        self.start()
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://127.0.0.1:{self._port}/api"

    def start(self, *, fork: bool = False) -> None:
        """Start the server and point this process's Prefect settings at it; returns before it answers.

        Connections that are made before it answers wait. Call it before Prefect is imported, and register `stop` with
        `atexit` before that too: Prefect's own exit hooks talk to the server, so it has to go last.

        Args:
            fork: import Prefect here, and let the server be a fork of this process, which has half as much to import
                then. If this process has threads, or Prefect, the server is a program of its own all the same.

        Raises:
            CustomizerError: there is no room for its home directory, or no process to be had.
        """
        self._environment = dict(os.environ)
        try:
            self._home = Path(tempfile.mkdtemp(prefix="cos-customizer-prefect-"))
            self._cold = not database_template.copy_to(self._home / "prefect.db")
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen(128)
                self._port = listener.getsockname()[1]
                self._set_environment()
                _throw_away.add(self.url)
                self._spawn(listener, fork)
        except OSError as error:
            self.stop()
            raise CustomizerError(
                f"cannot start a Prefect server: {error}",
                "it needs a temporary directory (TMPDIR) with some MB of room; PREFECT_API_URL names another server.",
            ) from error

    def _set_environment(self) -> None:
        # Whatever else is set is meant for another server, a database or a key that this one must not get.
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            del os.environ[name]
        os.environ.update(
            PREFECT_HOME=str(self._home),
            PREFECT_API_URL=self.url,
            PREFECT_API_AUTH_STRING=self._credential,  # parameters of runs hold values that are nobody else's business
            PREFECT_LOGGING_SETTINGS_PATH=str(_LOGGING),
            PREFECT_LOGGING_TO_API_ENABLED="false",  # nobody can read it there
            PREFECT_CLIENT_CSRF_SUPPORT_ENABLED="false",  # the server's is off, and it is of the client's version
            PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED="false",
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
        )
        loopback = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1")))
        os.environ.update(no_proxy=loopback, NO_PROXY=loopback)

    def _spawn(self, listener: socket.socket, fork: bool) -> None:
        assert self._home is not None
        settings = {
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(self._cold),
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_API_AUTH_STRING": self._credential,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{self._port}",  # no page is shown anywhere else
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in _SERVICES},
        }
        environment = {**os.environ, **settings}
        del environment["PREFECT_LOGGING_SETTINGS_PATH"]
        descriptor = listener.fileno()
        with (self._home / "server.log").open("wb") as log:
            if fork and _import_what_both_need() and may_fork():
                self._process = Fork(partial(_serve_as_fork, descriptor), environment, self._home, log, descriptor)
                return
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from cos_customizer.flows.local_server import serve; serve({descriptor})"],
                env=environment,
                cwd=self._home,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[descriptor],
                start_new_session=True,
            )

    def wait(self, patience: float = 120.0) -> None:
        """Wait until the server answers.

        Args:
            patience: seconds to wait, if there are so many left.

        Raises:
            LocalServerError: it does not.
        """
        connection = HTTPConnection("127.0.0.1", self._port, timeout=max(0.001, deadline.left(patience)))
        try:
            connection.request("GET", "/api/health")
            if connection.getresponse().status != 200:
                raise HTTPException("it is not healthy")
        except (OSError, HTTPException) as error:
            raise self._failure(error) from error
        finally:
            connection.close()
        if self._cold:
            with contextlib.suppress(OSError, RuntimeError, sqlite3.Error):  # that it cannot be kept is no harm
                self.keep_template(database_template.cached().expanduser())

    def keep_template(self, template: Path) -> None:
        """Copy the server's migrated database, whole or not at all, for servers to come.

        Args:
            template: the file to write.

        Raises:
            OSError: it cannot be written.
            sqlite3.Error: the database cannot be read.
        """
        assert self._home is not None, "the server is not running"
        database_template.keep(self._home / "prefect.db", template)

    def _failure(self, error: Exception) -> LocalServerError:
        tail: tuple[str, ...] = ()
        if self._home is not None:
            with contextlib.suppress(OSError):
                log = (self._home / "server.log").read_text(encoding="utf-8", errors="replace")
                tail = tuple(log.splitlines()[-10:])
        return LocalServerError(
            f"the build's own Prefect server did not come up ({error})",
            "PREFECT_API_URL names another server to use instead.",
            tail,
        )

    def stop(self) -> None:
        """Stop the server and remove what it has left; the environment is again what it was. May be called twice."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(_STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        _throw_away.discard(self.url)
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None
            os.environ.clear()
            os.environ.update(self._environment)


def serve(descriptor: int) -> None:
    """Run the server in this process until standard input ends; then remove the home directory.

    Args:
        descriptor: a listening socket.
    """
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with uncollected():
        import uvicorn
        from prefect.server.api import server

    routers = sorted(server.API_ROUTERS, key=lambda router: router.prefix not in _ASKED)
    vars(server)["API_ROUTERS"] = tuple(routers)
    with uncollected():  # again: Prefect has all collected that is not frozen, whatever is disabled
        app = server.create_app(final=True, webserver_only=True)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_keep_alive=24 * 3600,  # a build is silent for long, and its client keeps connections
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def _import_what_both_need() -> bool:
    """Import what a build and its server have in common, unless Prefect is there already, with settings of its own.

    Returns:
        Whether it has done so.
    """
    if "prefect" in sys.modules or not may_fork():
        return False
    with uncollected():
        import fastapi.encoders  # noqa: F401
        import prefect.context  # noqa: F401
    return True


def _serve_as_fork(descriptor: int) -> None:
    """`serve`, where Prefect has been imported with other settings and another logging."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import PROCESS_LOGGING_CONFIG

    PROCESS_LOGGING_CONFIG.clear()
    refresh_global_settings_context()
    serve(descriptor)


def _leave_with_parent() -> None:
    # Nothing in the database is worth an orderly end, and a parent that was killed cannot clean up.
    while os.read(0, 1024):
        pass
    shutil.rmtree(os.environ["PREFECT_HOME"], ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Write a migrated database to the file that the command line names, for `COS_CUSTOMIZER_PREFECT_TEMPLATE`."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m cos_customizer.flows.local_server FILE")
    begin = time.monotonic()
    with LocalServer() as server:
        server.keep_template(Path(sys.argv[1]).absolute())
    Path(sys.argv[1]).chmod(0o644)  # an image's users are not who has made it
    print(f"{sys.argv[1]} written in {time.monotonic() - begin:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main()
