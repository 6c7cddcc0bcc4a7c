"""How long until the command line answers, a first image is scored, a small pool is done?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deal._demo import demo_file
from deal.bench.child import deal_program, user_environment
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, spread
from deal.synthetic.scenes import write_pool

__all__ = ["run", "stages"]

_PREVIEWS, _SIZE = 100, (360, 480)

# ``deal-score`` with a display that notes when it is called. The clock is the machine's, so it
# counts from before this interpreter began.
_STAGES = """
import json, sys, time
began, file = float(sys.argv[1]), sys.argv[2]
marks = {}
def mark(name, at=None):
    marks.setdefault(name, (time.monotonic() if at is None else at) - began)
mark("interpreter")
import deal.cli, deal.cli.score as score
class Display(score.Display):
    def __enter__(self):
        mark("options")
        import deal.run.pipeline
        mark("imports")
        return super().__enter__()
    def __call__(self, progress):
        mark("network", time.monotonic() - progress.seconds)
        mark("first image")
        super().__call__(progress)
    def __exit__(self, *error):
        mark("ranking")
        return super().__exit__(*error)
score.Display = Display
code = deal.cli.run(score.command, sys.argv[3:], "deal-score", own_process=True)
mark("table")
json.dump(marks, open(file, "w"))
sys.exit(code)
"""

_PARTS = {
    "interpreter": "the interpreter has begun",
    "options": "options are read",
    "imports": "modules are imported",
    "network": "the network is open",
    "first image": "the first image is scored",
    "ranking": "all images are ranked",
    "table": "the table is printed",
}


def run(*, rounds: int = 15, pool: str | None = None) -> Report:
    """Time whole processes, beside an interpreter that does nothing.

    Parameters
    ----------
    rounds : int
        Of the short processes; a third of them of the previews.
    pool : str, optional
        Images for the previews; street scenes of 360×480 by default.
    """
    help_command = [deal_program("deal-score"), "--help"]
    nothing = [sys.executable, "-c", "pass"]
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        outputs = (str(folder / f"out-{number}") for number in range(100_000))
        demo = [str(demo_file("pool"))]
        model = ["--model", str(demo_file("model.onnx"))]
        parts: dict[str, list[float]] = {part: [] for part in _PARTS}

        def staged() -> None:
            for part, seconds in stages([*demo, *model, "-o", next(outputs)], folder).items():
                parts[part].append(seconds)

        many = [pool or str(write_pool(folder / "pool", _PREVIEWS, _SIZE))]

        def score(sources: list[str], *more: str) -> None:
            _call([deal_program("deal-score"), *sources, *model, "-o", next(outputs), *more])

        short = interleave(
            {
                "help": lambda: _call(help_command),
                "python": lambda: _call(nothing),
                "demo": lambda: score(demo),
                "staged": staged,
            },
            rounds=rounds,
        )
        scored = str(folder / "scored")
        _call([deal_program("deal-score"), *many, *model, "-o", scored])
        draw = ["select", scored, "-o", str(folder / "drawn"), "--top", "0"]
        long = interleave(
            {
                "scored": lambda: score(many),
                "drawn": lambda: _call([deal_program("deal"), *draw, "--previews", str(_PREVIEWS)]),
                "selected": lambda: _call([deal_program("deal"), *draw]),
                "together": lambda: score(many, "--previews", str(_PREVIEWS)),
            },
            rounds=max(rounds // 3, 1),
        )
    drawing = [
        drawn - chosen for drawn, chosen in zip(long["drawn"], long["selected"], strict=True)
    ]
    at_once = [both - scored for both, scored in zip(long["together"], long["scored"], strict=True)]
    targets = {"first image": "<= 0.5"}
    return Report(
        question="startup",
        settings={"rounds": rounds, "pool": None if pool is None else Path(pool).name},
        rows=(
            Row("deal-score --help", spread(short["help"]), "s", "<= 0.3"),
            Row("python -c pass", spread(short["python"]), "s"),
            Row("deal-score of 24 images", spread(short["demo"]), "s", "<= 1"),
            *(
                Row(
                    f"of these, until {words}",
                    spread(parts[part][-rounds:]),
                    "s",
                    targets.get(part),
                )
                for part, words in _PARTS.items()
            ),
            Row(f"deal-score of {_PREVIEWS} images", spread(long["scored"]), "s"),
            Row("deal select of these", spread(long["selected"]), "s"),
            Row(f"{_PREVIEWS} previews of these", spread(drawing), "s"),
            Row("previews / deal-score", ratios(drawing, long["scored"]), "ratio", "<= 1"),
            Row(f"{_PREVIEWS} previews by deal-score itself", spread(at_once), "s"),
            Row("its previews / deal-score", ratios(at_once, long["scored"]), "ratio", "<= 1"),
        ),
    )


def stages(arguments: list[str], folder: Path) -> dict[str, float]:
    """Seconds from the start of a process of ``deal-score`` until each of its stages has ended.

    Parameters
    ----------
    arguments : list of str
        Of ``deal-score``.
    folder : Path
        For a file of its own.
    """
    file = folder / "stages.json"
    file.unlink(missing_ok=True)
    _call([sys.executable, "-c", _STAGES, repr(time.monotonic()), str(file), *arguments])
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _call(arguments: list[str]) -> None:
    subprocess.run(
        arguments,
        check=True,
        env=user_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
