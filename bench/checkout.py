"""The checkout that is measured: its commit, and the C programs that are built from it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import deal
from deal.errors import UsageError
from deal.machine.cache import cache_folder
from deal.machine.files import lock

__all__ = ["build", "checkout", "commit", "programs_folder"]

_SOURCES = ("Makefile", "bench", "csrc", "deal", "tests")  # what the targets name
# What may differ from the commit without another thing being measured.
_WORDS = (":(exclude)*.md", ":(exclude)bench/results")


def checkout() -> Path | None:
    """Root of the repository that this package is imported from; None of an installed package."""
    root = Path(deal.__file__).resolve().parent.parent
    return root if (root / "Makefile").is_file() and (root / "csrc").is_dir() else None


def build(target: str) -> Path:
    """Make a target of the Makefile, such as ``build/bench_latency``, and return its path.

    It is built in the cache (:func:`deal.machine.cache.cache_folder`), in a folder of this checkout
    that refers to its sources: the checkout itself stays as it is.

    Raises
    ------
    UsageError
        There is no checkout to build from, or it cannot be built.
    """
    root = checkout()
    if root is None:
        raise UsageError(
            f"this is compiled from C sources ({Path(target).name}), which an installed package "
            "does not hold: run it from a checkout of the project (pip install -e .)"
        )
    folder = programs_folder(root)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(folder / "lock", "wb") as file:
            lock(file.fileno(), folder, wait=True)
            for name in _SOURCES:
                if not (folder / name).is_symlink():
                    (folder / name).symlink_to(root / name)
            subprocess.run(
                ["make", "--silent", target], cwd=folder, check=True, stdout=subprocess.DEVNULL
            )
    except subprocess.CalledProcessError as error:
        raise UsageError(f"{target} needs make and a C compiler: {error}") from error
    except FileNotFoundError as error:
        raise UsageError(f"{target} needs make and a C compiler: no {error.filename}") from error
    except OSError as error:
        raise UsageError(
            f"{target} cannot be built in {folder} ({error.strerror}): set DEAL_CACHE to a folder "
            "of yours"
        ) from error
    return folder / target


def programs_folder(root: Path) -> Path:
    """Where the programs of a checkout are built."""
    return cache_folder("programs") / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]


def commit(root: Path | None = None) -> str | None:
    """First letters of the commit that is checked out, ``-dirty`` behind them after changes.

    Changes of texts and of measured figures do not count. None without a repository.

    Parameters
    ----------
    root : Path, optional
        Of the repository; by default that of :func:`checkout`.
    """
    root = root or checkout()
    if root is None:
        return None
    try:
        found = _git(root, "rev-parse", "--short=10", "HEAD")
        changed = _git(root, "diff", "--quiet", "HEAD", "--", ".", *_WORDS).returncode != 0
    except OSError:
        return None
    if found.returncode != 0:
        return None
    return found.stdout.strip() + "-dirty" * changed


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
