"""A few cases of every kind of torture, and that campaigns notice, count and repeat."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.torture import page
from tests.torture.cases import Case, Finding, Kind, Tally, hunt
from tests.torture.commands import Plan, Workshop, open_workshop
from tests.torture.kills import calls_case, kill_case
from tests.torture.kinds import KINDS
from tests.torture.mutations import damaged, edited, torn
from tests.torture.page import BEGIN, END, rendered, update
from tests.torture.record import append, totals
from tests.torture.torn import torn_case

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "build" / "failing_calls.so"
IN_PROCESS = {"images": 60, "headers": 1, "manifests": 60, "heads": 100, "side-cars": 40}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged tags
@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_few_cases_of_each_kind_find_nothing(name: str, tmp_path: Path) -> None:
    with KINDS[name].open(tmp_path) as case:
        for index in range(IN_PROCESS[name]):
            case(random.Random(f"test {index}"))


@pytest.mark.slow
def test_eight_threads_score_as_one_does(tmp_path: Path) -> None:
    tally = hunt("threads", KINDS["threads"], seed=1, seconds=60, count=3, folder=tmp_path)
    assert tally.cases == 3
    assert tally.findings == []


# ---- commands ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    if shutil.which("make") is None or shutil.which("gcc") is None:
        pytest.skip("needs make and a C compiler")
    subprocess.run(["make", "--silent", str(SHIM.relative_to(ROOT))], cwd=ROOT, check=True)
    with open_workshop(tmp_path_factory.mktemp("workshop"), heavy=False) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("case", [kill_case, calls_case, torn_case])
def test_a_disturbed_command_is_as_if_nothing_had_happened(workshop: Workshop, case) -> None:
    for index in range(2):
        case(random.Random(index), workshop, "score regions", "select")


@pytest.mark.slow
def test_every_call_that_fails_in_select_ends_in_one_line(workshop: Workshop) -> None:
    operation = workshop.choose(random.Random(0), "select")
    codes = set()
    for at in range(0, operation.calls, 12):
        with workshop.place(operation) as place:
            plan = Plan(at=at, error=errno.ENOSPC, sticky=1)
            ended = workshop.runner.run(operation.arguments(place), place, plan)
            codes.add(ended.code)
            assert "Traceback" not in ended.stderr
    assert 1 in codes


# ---- the campaign itself ----------------------------------------------------------------------


@contextmanager
def _often_wrong(folder: Path) -> Iterator[Case]:
    def case(rng: random.Random) -> str:
        if rng.random() < 0.5:
            raise Finding("so it is")
        return "right"

    yield case


@contextmanager
def _deadly(folder: Path) -> Iterator[Case]:
    def case(rng: random.Random) -> str:
        if rng.random() < 0.3:
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    yield case


def test_a_campaign_counts_what_it_finds_and_finds_it_again() -> None:
    kind = Kind(_often_wrong, "wrong half of the time", 1)
    tally = hunt("half", kind, seed=3, count=20)
    assert tally.cases == 20
    assert tally.counts["right"] + len(tally.findings) == 20
    assert 0 < len(tally.findings) < 20
    first = tally.findings[0]
    index = int(first.split("--first ")[1].split()[0])
    again = hunt("half", kind, seed=3, count=1, first=index)
    assert again.findings == [first]
    assert first.endswith("so it is")


def test_a_case_that_kills_its_process_is_a_finding_and_the_others_go_on() -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("pytest's threads make fork warn")
    tally = hunt("deadly", Kind(_deadly, "", 1, caged=True), seed=1, count=12)
    deaths = [finding for finding in tally.findings if "Killed" in finding]
    assert deaths
    assert len(deaths) == len(tally.findings) == tally.counts["wrong"]


def test_counts_of_runs_add_up_and_the_page_shows_them(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    for seed in (1, 2):
        tally = Tally(2)
        tally.counts.update({"PNG refused": 1, "PNG other pixels": 1})
        append(record, "images", seed, tally)
    counted = totals(record)
    assert counted["images"]["cases"] == 4
    assert counted["images"]["seeds"] == [1, 2]
    table = rendered(counted)
    assert "| PNG | 2 | 0 | 2 | 50.0% |" in table
    assert "| `kills` | commands ended by signals, then run again | not run yet | 500 |" in table
    assert update(f"a\n{BEGIN}old{END}\nz", counted) == f"a\n{BEGIN}\n\n{table}\n\n{END}\nz"


def test_the_page_is_that_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["page", "--check"])
    assert page.main() == 0, "docs/reliability.md is stale: python -m tests.torture.page"


def test_mutations_depend_on_the_seed_alone_and_change_something() -> None:
    text = b'{"gamma": 0.7, "weight": [0.5, -1.0]}'
    changes = [
        lambda rng: damaged(rng, text, text)[1],
        lambda rng: edited(rng, text),
        lambda rng: torn(rng, text),
    ]
    for change in changes:
        found = [change(random.Random(seed)) for seed in range(50)]
        assert found == [change(random.Random(seed)) for seed in range(50)]
        assert len(set(found)) > 5


@pytest.mark.slow
def test_the_command_runs_a_kind_and_records_it(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    arguments = ["--kinds", "heads", "--count", "20", "--seed", "5", "--record", str(record)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "heads: 20 in" in done.stdout
    assert totals(record)["heads"]["cases"] == 20
