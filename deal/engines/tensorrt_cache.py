"""Cache of engines that TensorRT built on this machine, so that each model is built once.

An engine is executable code for one GPU, so only engines that were built on this machine are run.
The key of an entry is a hash of everything that the engine depends on: the whole model, TensorRT,
GPU, driver, machine, shapes and flags. Its bytes must match the digest in the description
``KEY.json``. The description is written last; without it ``KEY.engine`` is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deal.engines.tensorrt_library import log
from deal.errors import EngineUnavailableError, ModelError
from deal.machine.cache import cache_folder
from deal.machine.files import lock, replacing

__all__ = ["EngineCache", "Entry", "NotUsableError", "default_folder"]

T = TypeVar("T")


class _Built(Protocol):
    @property
    def plan(self) -> bytes: ...
    @property
    def layers(self) -> str: ...


class NotUsableError(Exception):
    """TensorRT refuses a stored engine; the text says why."""


@dataclass(frozen=True)
class Entry:
    """One stored engine.

    Attributes
    ----------
    path : Path
    name : str
        Name of the model's file at the time of the build.
    facts : dict
        What the engine was built from and for, in plain words.
    size : int
        Size in bytes.
    used : float
        Time of the build or the last use, in seconds since 1970.
    """

    path: Path
    name: str
    facts: dict[str, Any]
    size: int
    used: float


def default_folder() -> Path:
    """``$DEAL_CACHE/engines``, else ``$XDG_CACHE_HOME/deal/engines``, else ``~/.cache/…``."""
    return cache_folder("engines")


class EngineCache:
    """A folder of engines, shared by the processes of a machine.

    Parameters
    ----------
    folder : Path, optional
        The folder, by default :func:`default_folder`. It is created for the user alone.

    Raises
    ------
    EngineUnavailableError
        The folder cannot be created, or other users may write to it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = self.folder.stat()
        except OSError as error:
            raise EngineUnavailableError(
                f"engine cache {self.folder} cannot be created ({error.strerror}): set DEAL_CACHE "
                "to a folder of your own"
            ) from error
        shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if found.st_uid != os.geteuid() or shared:
            raise EngineUnavailableError(
                f"engine cache {self.folder} can be written by other users, but engines are "
                f"executable code: chmod go-w {self.folder}, or set DEAL_CACHE to a folder of your "
                "own"
            )

    def get(
        self,
        facts: Mapping[str, Any],
        use: Callable[[bytes], T],
        build: Callable[[], _Built],
        say: Callable[[str], None] = log.info,
        *,
        name: str = "",
    ) -> T:
        """Return the result of ``use`` for the stored engine; build the engine if there is none.

        If several processes need the same engine, one builds it and the others wait.

        Parameters
        ----------
        facts : mapping
            Everything the engine depends on, as JSON values.
        use : callable
            Deserialises the engine; raises :class:`NotUsableError` if that fails.
        build : callable
            Returns the engine's ``plan`` and the inspector's JSON, ``layers``.
        say : callable
            Gets a line of text about work that takes long.
        name : str
            Name of the model's file, for people; the engine does not depend on it.

        Raises
        ------
        ModelError
            ``build`` fails, or the new engine cannot be used.
        EngineUnavailableError
            The cache cannot be written.
        """
        key = key_of(facts)
        with self._locked(key, say):
            plan = self._read(key, facts)
            if plan is not None:
                try:
                    return use(plan)
                except NotUsableError as error:
                    log.warning("engine %s is built again: %s", self._path(key), error)
            say("building the TensorRT engine, once for this model and machine; this takes minutes")
            built = build()
            self._write(key, name, facts, built)
        try:
            return use(built.plan)
        except NotUsableError as error:
            raise ModelError(
                f"TensorRT refuses the engine that it has just built: {error}"
            ) from error

    def entries(self) -> list[Entry]:
        """The stored engines, by path; their bytes are not checked."""
        found = []
        for description in sorted(self.folder.glob("*.json")):
            path = description.with_suffix(".engine")
            with suppress(OSError, ValueError, KeyError):
                told = json.loads(description.read_text(encoding="utf-8"))
                used = description.stat().st_mtime
                size = path.stat().st_size
                found.append(Entry(path, told["name"], told["facts"], size, used))
        return found

    def remove(self, entry: Entry) -> None:
        """Delete a stored engine; a process that runs it is not affected.

        Raises
        ------
        EngineUnavailableError
            The engine cannot be deleted.
        """
        with self._storing():
            for suffix in (".json", ".engine", ".layers"):
                entry.path.with_suffix(suffix).unlink(missing_ok=True)

    def timing_cache(self, facts: Mapping[str, Any]) -> Path:
        """File of kernel timings, shared by all engines of one GPU and TensorRT version."""
        shared = {name: facts[name] for name in ("tensorrt", "gpu", "compute_capability")}
        return self.folder / f"timing-{key_of(shared)[:16]}.bin"

    def _read(self, key: str, facts: Mapping[str, Any]) -> bytes | None:
        path = self._path(key)
        try:
            with self._storing():
                told = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
                plan = path.read_bytes()
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("engine %s is built again: its description is no JSON: %s", path, error)
            return None
        if not isinstance(told, dict) or told.get("facts") != json.loads(json.dumps(dict(facts))):
            log.warning("engine %s is built again: it was built for something else", path)
            return None
        if told.get("sha256") != hashlib.sha256(plan).hexdigest():
            log.warning("engine %s is built again: its bytes are not those that were built", path)
            return None
        with self._storing():
            os.utime(path.with_suffix(".json"))
        return plan

    def _write(self, key: str, name: str, facts: Mapping[str, Any], built: _Built) -> None:
        path = self._path(key)
        digest = hashlib.sha256(built.plan).hexdigest()
        told = {"name": name, "facts": dict(facts), "sha256": digest}
        with self._storing():
            path.with_suffix(".json").unlink(missing_ok=True)
            contents = {
                path: built.plan,
                path.with_suffix(".layers"): built.layers.encode(),
                path.with_suffix(".json"): (json.dumps(told, indent=2) + "\n").encode(),
            }
            for target, content in contents.items():
                with replacing(target, alone=True) as file:
                    file.write(content)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.engine"

    @contextmanager
    def _locked(self, key: str, say: Callable[[str], None]) -> Iterator[None]:
        path, flags = self.folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        with self._storing():
            file = os.open(path, flags, 0o600)
        try:
            if not lock(file, self.folder, wait=False):
                say("another process is building this engine: waiting for it")
                lock(file, self.folder, wait=True)
            yield
        finally:
            os.close(file)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise EngineUnavailableError(
                f"engine cache {self.folder} cannot be used ({error.strerror}): make room, or set "
                "DEAL_CACHE to a folder of your own"
            ) from error


def key_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of the facts, in hexadecimal."""
    text = json.dumps(dict(facts), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
