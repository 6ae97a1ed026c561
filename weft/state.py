"""The state directory of a laptop mesh: where things stand in it, and who owns it.

=================== ======================================================================
up.lock             held by the running `weft up`; contains its pid
up.json             what it runs: {"pid", "directory", "gateway"}
controlplane.json   from the control plane: its addresses
up.sqlite3          from the control plane: what its API was given while the mesh runs
proxies.json        from the control plane: which proxies there are, for its next start
root.pem            from the control plane: the trust bundle; ca/: its certificate authority
admin.token         from the control plane: the key to its API
logs/NAME.log       the output of each process
sidecars/NAME/      a sidecar's bootstrap, join token and last good configuration
=================== ======================================================================
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from weft.errors import UserError

DEFAULT = Path(".weft")
_STORE = ("up.sqlite3", "up.sqlite3-wal", "up.sqlite3-shm")
"""A mesh on a laptop is what its directory says; what was applied ends with it."""


@dataclass(frozen=True, slots=True)
class Running:
    """What `weft up` tells `weft run` and `weft status`. gateway: "127.0.0.1:8080"."""

    pid: int
    directory: str
    gateway: str


@dataclass(frozen=True, slots=True)
class ControlPlaneAddresses:
    """address: TLS with a token; mtls_address: mutual TLS; admin_address: plain HTTP."""

    pid: int
    address: str
    mtls_address: str
    admin_address: str


class StateDir:
    """Paths and small files; `lock()` makes this process the owner."""

    __slots__ = ("_lock", "path")

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: TextIO | None = None

    def lock(self) -> None:
        """Creates the directory (0700) and takes it. UserError names the process that has it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (self.path / "up.lock").open("a+", encoding="utf-8")
        except OSError as error:
            why = "it is no directory" if isinstance(error, FileExistsError) else error.strerror
            raise UserError(
                f"cannot use {self.path} as state directory: {why}; name another with --state-dir"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken = self._taken(self._lock)
            self._lock.close()
            self._lock = None
            raise UserError(taken) from None
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()
        self._clear()

    def _clear(self) -> None:
        """What the run before has left and this one must not read: its ports and its logs."""
        for old in ("up.json", "controlplane.json", "proxies.json", *_STORE):
            (self.path / old).unlink(missing_ok=True)
        for directory in (self.logs, self.path / "sidecars"):
            shutil.rmtree(directory, ignore_errors=True)
        self.logs.mkdir()

    def _taken(self, lock: TextIO) -> str:
        lock.seek(0)
        pid = lock.read().strip() or "?"
        return (
            f"weft up already runs on {self.path} (pid {pid}); stop it, or give another --state-dir"
        )

    def unlock(self) -> None:
        """Gives the directory back; what is in it stays for the next start."""
        if self._lock is None:
            return
        (self.path / "up.json").unlink(missing_ok=True)
        self._lock.close()
        self._lock = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def store(self) -> Path:
        """What was applied, for a control plane that is started again."""
        return self.path / _STORE[0]

    @property
    def root_certificate(self) -> Path:
        return self.path / "root.pem"

    @property
    def admin_token(self) -> str:
        try:
            return (self.path / "admin.token").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"cannot read {self.path / 'admin.token'}: {error}") from error

    def sidecar(self, name: str) -> Path:
        """The directory (0700) of one sidecar; made when it is not there."""
        directory = self.path / "sidecars" / name
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory

    def write_running(self, running: Running) -> None:
        write_private(self.path / "up.json", json.dumps(asdict(running)) + "\n")

    def running(self) -> Running:
        """UserError where no `weft up` runs on this directory."""
        try:
            running = Running(**json.loads((self.path / "up.json").read_text(encoding="utf-8")))
            os.kill(running.pid, 0)
        except (OSError, ValueError, TypeError):
            if self._is_taken():
                raise UserError(f"the mesh of {self.path} is still starting; try again") from None
            raise UserError(f"no mesh runs on {self.path}; start one with: weft up DIR") from None
        return running

    def _is_taken(self) -> bool:
        """Whether a `weft up` holds it, though it has not said yet what it runs."""
        try:
            with (self.path / "up.lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass  # no lock, no mesh
        return False

    def control_plane(self) -> ControlPlaneAddresses | None:
        """None until the control plane serves."""
        try:
            text = (self.path / "controlplane.json").read_text(encoding="utf-8")
            found = json.loads(text)
            return ControlPlaneAddresses(
                found["pid"], found["address"], found["mtls_address"], found["admin_address"]
            )
        except (OSError, ValueError, KeyError):
            return None


def write_private(path: Path, text: str) -> None:
    """Replaces a file at once by one that only its owner can read (0600)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
