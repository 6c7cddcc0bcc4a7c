"""How does deal do beside the programs that one would take instead?

Each section checks that all find the same before it times them in turns, with equal threads. A
peer that is not installed is left out, with what to install.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pyarrow import csv

from deal import _native
from deal.acquisitions.k_center import k_center_greedy
from deal.bench import duck
from deal.bench.child import deal_program, run_child
from deal.bench.core_set import make_features
from deal.bench.failed import FailedCheckError
from deal.bench.made_up import write_narrow
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, spread
from deal.errors import UsageError
from deal.machine.cores import available_cores
from deal.pool.decode import decode_bytes
from deal.synthetic.scenes import scene

__all__ = ["SECTIONS", "run"]

Image8 = NDArray[np.uint8]
Found = tuple[list[Row], list[str]]

_PART_ROWS = 65_536
_FRAME, _SMALL = (1080, 1920), (360, 480)
_DECODED = 100  # images of a turn
# Mean difference in grey levels: the filters of resizing differ, and so do the IDCTs.
_LEVELS = 3.0
# Picks that must be the same, and how far the radii of all may be apart.
_FIRST, _RADIUS = 10, 0.02
# Of the range of the logits; bfloat16 has eight bits of mantissa.
_LOGITS = 1e-3

_POLARS = """
import sys
import polars
files, score, count, output = sys.argv[1:]
rows = polars.scan_parquet(files).filter(polars.col("status") == "ok").select("id", score)
best = rows.sort([score, "id"], descending=[True, False]).head(int(count))
best.collect(engine="streaming").write_csv(output)
"""


def run(
    *,
    sections: Sequence[str] = (),
    rows: int = 10_000_000,
    features: int = 100_000,
    images: int = 32,
    rounds: int = 3,
    keep: str | None = None,
) -> Report:
    """Time deal and its peers, section by section.

    Parameters
    ----------
    sections : sequence of str
        Of `SECTIONS`; all by default.
    rows : int
        Scored images of which the best are found.
    features : int
        Vectors of 256 numbers of which 1,000 are picked.
    images : int
        Through the networks.
    rounds : int
    keep : str, optional
        Folder for the scored rows, used again if it holds them.

    Raises
    ------
    FailedCheckError
        A peer finds something else.
    UsageError
        A section is unknown.
    """
    for name in sections:
        if name not in SECTIONS:
            raise UsageError(f"section {name!r} is unknown; choose of {', '.join(SECTIONS)}")
    given = {"rows": rows, "features": features, "images": images, "rounds": rounds}
    found: list[Row] = []
    notes: list[str] = []
    for name in sections or SECTIONS:
        lines, said = SECTIONS[name]({**given, "keep": keep})
        found += lines
        notes += said
    return Report(
        question="peers",
        settings={**given, "sections": list(sections or SECTIONS), "threads": available_cores()},
        rows=tuple(found),
        notes=tuple(notes),
    )


def _lacks(module: str, package: str, notes: list[str]) -> bool:
    if find_spec(module) is not None:
        return False
    notes.append(f"{package} is left out: pip install {package}")
    return True


def _timed(
    work: str,
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    amount: tuple[float, str] | None = None,
) -> list[Row]:
    """Rows of all, the first of them deal; as ``amount`` per second, or in seconds."""
    seconds = interleave(candidates, rounds=rounds, pause=0.3)
    ours = seconds["deal"]
    lines = []
    for name, values in seconds.items():
        if amount is None:
            lines.append(Row(f"{work}: {name}", spread(values), "s"))
        else:
            rates = spread([amount[0] / value for value in values])
            lines.append(Row(f"{work}: {name}", rates, amount[1]))
    peers = {name: values for name, values in seconds.items() if name != "deal"}
    return lines + [
        Row(f"{work}: time of {name} / deal", ratios(values, ours), "ratio")
        for name, values in peers.items()
    ]


def _core_set(given: Mapping[str, Any], picks: int = 1000) -> Found:
    """Greedy k-center of unit vectors, from row 0."""
    notes: list[str] = []
    x = make_features(given["features"], 256, "network")
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    picks = min(picks, len(x) // 2)

    def ours() -> NDArray[np.int64]:
        return k_center_greedy(x, picks, centers=[0], threads=available_cores())[0]

    candidates: dict[str, Callable[[], Any]] = {"deal": ours}
    if not _lacks("lightly_mundig", "lightly-mundig", notes):
        import lightly_mundig

        def theirs() -> Any:
            selection = lightly_mundig.Selection()
            selection.add_diversifying_strategy(x, 1.0)
            return selection.run_selection([0], len(x), picks + 1)

        # Of rows equally far in float32 another may be taken, and then others follow.
        picked = np.array(theirs()[1:]), ours()
        same = int(np.argmin([*(picked[0] == picked[1]), False]))
        radii = [k_center_greedy(x, 1, centers=[0, *found])[1][0] for found in picked]
        if same < _FIRST or abs(radii[0] / radii[1] - 1) > _RADIUS:
            raise FailedCheckError(
                f"lightly-mundig picks the first {same} rows alike, and the farthest row is "
                f"{radii[0]:.3g} away, not {radii[1]:.3g}"
            )
        candidates["lightly-mundig"] = theirs
    return _timed(f"{picks} of {len(x)} x 256 by k-center", candidates, given["rounds"]), notes


def _top(given: Mapping[str, Any]) -> Found:
    """The best hundredth of rows in Parquet files, as processes."""
    rows, notes = given["rows"], list[str]()
    count = -(-rows // 100)
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        results = Path(given["keep"] or folder) / f"narrow-{rows}-{_PART_ROWS}"
        if not (results / "done").exists():
            write_narrow(results, rows, min(_PART_ROWS, rows))
            (results / "done").touch()
        files = {label: folder / f"{label}.csv" for label in ("deal", "DuckDB", "Polars")}
        select = [deal_program("deal"), "select", str(results), "--budget", str(count)]
        select += ["--acquisition", "ds", "--spread", "off", "--top", "1"]
        score = "difficulty_mean"
        commands = {"deal": select}
        if not _lacks("duckdb", "duckdb", notes):
            commands["DuckDB"] = duck.peer(results, score, (), count, files["DuckDB"])
        if not _lacks("polars", "polars", notes):
            glob = str(results / "images" / "*.parquet")
            program = [sys.executable, "-c", _POLARS]
            commands["Polars"] = [*program, glob, score, str(count), str(files["Polars"])]
        run_child([*select, "--output", str(folder / "selection")])
        expected = csv.read_csv(folder / "selection" / "selection.csv").column("id")
        for label in list(commands)[1:]:
            run_child(commands[label])
            if not csv.read_csv(files[label]).column("id").equals(expected):
                raise FailedCheckError(f"{label} finds other rows than deal select")
        candidates = {label: partial(run_child, one) for label, one in commands.items()}
        return _timed(f"best 1 % of {rows} rows", candidates, given["rounds"]), notes


def _decoding(given: Mapping[str, Any]) -> Found:
    """JPEG files to RGB at the size of a network, in one thread."""
    notes: list[str] = []
    lines: list[Row] = []
    for size in (_SMALL, _FRAME):
        file = BytesIO()
        whole = Image.fromarray(scene(1, _SMALL)[0]).resize(size[::-1], Image.Resampling.BICUBIC)
        whole.save(file, "JPEG", quality=90)
        data = file.getvalue()
        ways: dict[str, Callable[[bytes], Image8]] = {"deal": _ours, "Pillow": _pillow}
        if not _lacks("cv2", "opencv-python-headless", notes):
            ways["OpenCV"] = _opencv
        if not _lacks("torch", "torch", notes):
            ways["torchvision's way (Pillow, PyTorch)"] = _torchvision
        expected = ways["deal"](data).astype(int)
        for label, way in ways.items():
            apart = np.abs(way(data) - expected).mean()
            if apart > _LEVELS:
                raise FailedCheckError(f"{label}: pixels differ by {apart:.1f} levels on average")

        def repeat(way: Callable[[bytes], Image8], data: bytes = data) -> None:
            for _ in range(_DECODED):
                way(data)

        work = f"JPEG of {size[0]}×{size[1]} to {_SMALL[0]}×{_SMALL[1]}"
        candidates = {label: partial(repeat, way) for label, way in ways.items()}
        lines += _timed(work, candidates, given["rounds"], (_DECODED, "images/s"))
    return lines, list(dict.fromkeys(notes))


def _ours(data: bytes) -> Image8:
    image = decode_bytes(data, at_least=_SMALL).image
    return image if image.shape[:2] == _SMALL else _native.resample(image, *_SMALL, False)


def _pillow(data: bytes) -> Image8:
    with Image.open(BytesIO(data)) as file:
        image = file.convert("RGB")
    if image.size != _SMALL[::-1]:
        image = image.resize(_SMALL[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


def _opencv(data: bytes) -> Image8:
    import cv2

    cv2.setNumThreads(1)
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image.shape[:2] != _SMALL:
        image = cv2.resize(image, _SMALL[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _torchvision(data: bytes) -> Image8:
    import torch

    torch.set_num_threads(1)
    with Image.open(BytesIO(data)) as file:
        image = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)[None]
    if image.shape[2:] != _SMALL:
        image = torch.nn.functional.interpolate(
            image, _SMALL, mode="bilinear", antialias=True, align_corners=False
        )
    return np.asarray(image[0].permute(1, 2, 0).numpy())


def _network(given: Mapping[str, Any]) -> Found:
    """The light network, RGB to logits, on all cores."""
    notes: list[str] = []
    if _lacks("torch", "torch", notes):
        return [], notes
    import torch

    from deal.bench.networks import int8_model, random_network, static_model
    from deal.bench.sessions import Sessions
    from deal.engines.torch import RgbNetwork

    cores = available_cores()
    torch.set_num_threads(cores)
    batches = [scene(seed, _SMALL)[0][None] for seed in range(given["images"])]
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        trained, path = random_network(Path(name), "light")
        network = RgbNetwork(trained.module, trained.num_classes).eval()
        ours = Sessions(static_model(path, Path(name), _SMALL), cores, 1)
        quick = Sessions(int8_model(path), cores, 1)
        ways: dict[str, Callable[[Image8], NDArray[np.float32]]] = {}
        try:
            compiled = torch.compile(network)

            def in_bfloat16(batch: Image8) -> NDArray[np.float32]:
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                    return np.asarray(compiled(torch.from_numpy(batch)).float().numpy())

            in_bfloat16(batches[0])
            ways["torch.compile in bfloat16"] = in_bfloat16
        except Exception as error:  # a missing compiler or operator: both optional
            notes.append(f"torch.compile is left out: {type(error).__name__}")
        # In float32: random weights amplify the rounding of bfloat16 beyond comparison.
        expected = ours.logits(batches[0])
        with torch.inference_mode():
            found = network(torch.from_numpy(batches[0])).numpy()
        apart = np.abs(found - expected).max() / np.ptp(expected)
        if apart > _LOGITS:
            raise FailedCheckError(f"PyTorch: logits differ by {apart:.2g} of their range")
        for label, way in ways.items():
            if not np.isfinite(way(batches[0])).all():
                raise FailedCheckError(f"{label}: logits are not finite")

        def every(way: Callable[[Image8], object]) -> None:
            for batch in batches:
                way(batch)

        candidates: dict[str, Callable[[], object]] = {
            "deal": lambda: ours.run(batches),
            "deal, 8 bits": lambda: quick.run(batches),
            **{label: partial(every, way) for label, way in ways.items()},
        }
        amount = len(batches), "images/s"
        return _timed("light network in float32", candidates, given["rounds"], amount), notes


SECTIONS: dict[str, Callable[[Mapping[str, Any]], Found]] = {
    "core-set": _core_set,
    "top": _top,
    "decode": _decoding,
    "network": _network,
}
"""What is compared, by name."""
