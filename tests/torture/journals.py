"""Trips of a recorder that stop anywhere: the same frames are kept after the next start."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deal.rig.journal import RECORD_BYTES
from tests.helpers.disks import PowerCuts, synced_never
from tests.helpers.trips import COUNT, RULES, check_limits, record
from tests.torture.cases import Case, Finding

__all__ = ["journals", "power_cuts"]


@contextmanager
def journals(folder: Path) -> Iterator[Case]:
    """A journal is cut at any byte, half of them with a flipped bit, and the trip goes on."""
    whole: dict[str, dict[str, bytes]] = {}
    part: dict[tuple[str, int], Path] = {}

    def case(rng: random.Random) -> str:
        name = rng.choice(list(RULES))
        count = rng.choice([15, 40, 70, 100])
        place = folder / f"case{rng.getrandbits(60)}"
        if name not in whole:
            whole[name] = record(folder / f"whole {name}", RULES[name])
        if (name, count) not in part:
            part[name, count] = folder / f"part {name} {count}"
            record(part[name, count], RULES[name], count)
        shutil.copytree(part[name, count], place)
        journal = place / "journal.bin"
        data = bytearray(journal.read_bytes())
        del data[rng.randrange(RECORD_BYTES, len(data) + 1) :]
        flipped = rng.random() < 0.5 and len(data) > RECORD_BYTES
        if flipped:
            data[rng.randrange(RECORD_BYTES, len(data))] ^= 1 << rng.randrange(8)
        journal.write_bytes(data)
        found = record(place, RULES[name])
        check_limits(place, RULES[name])
        shutil.rmtree(place)
        if found != whole[name]:
            raise Finding(f"{name}: {sorted(found)} are kept, not {sorted(whole[name])}")
        return "cut, a bit flipped, the same set" if flipped else "cut, the same set"

    with synced_never():
        yield case


@contextmanager
def power_cuts(folder: Path) -> Iterator[Case]:
    """The power goes at a sync; what was not synced is lost, or only some of it."""
    whole: dict[str, dict[str, bytes]] = {}

    def case(rng: random.Random) -> str:
        name = rng.choice(list(RULES))
        with synced_never():
            if name not in whole:
                whole[name] = record(folder / f"whole {name}", RULES[name])
        place = folder / f"case{rng.getrandbits(60)}"
        root, hold = place / "root", place / "hold"
        root.mkdir(parents=True)
        hold.mkdir()
        some = rng.random() < 0.7
        at, seen = rng.randrange(1200), 0

        def at_sync() -> None:
            nonlocal seen
            if seen == at:
                cuts.image(place / "after", rng if some else None)
            seen += 1

        cuts = PowerCuts(root, hold, at_sync)
        with cuts.watching():
            record(root / "trip", RULES[name], COUNT)
        after = place / "after"
        if not after.exists():
            cuts.image(after, rng if some else None)
        (after / "trip").mkdir(exist_ok=True)
        check_limits(after / "trip", RULES[name])
        with synced_never():
            found = record(after / "trip", RULES[name])
        shutil.rmtree(place)
        if found != whole[name]:
            raise Finding(f"{name}: {sorted(found)} are kept, not {sorted(whole[name])}")
        return "some of what was not synced" if some else "nothing that was not synced"

    yield case
