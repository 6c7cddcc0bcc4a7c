"""Does memory grow with the pool?"""

from __future__ import annotations

import json
import tempfile
from importlib import resources
from pathlib import Path

from deal.bench.child import deal_program, run_child
from deal.bench.report import Report, Row
from deal.bench.timing import single
from deal.synthetic.scenes import write_pool

__all__ = ["run"]

_SIZE = (96, 128)


def run(
    *, model: str | None = None, small: int = 1000, large: int = 10_000, tiny: bool = False
) -> Report:
    """Peak resident memory of ``deal-score`` over a small and a large pool of 96×128 images.

    Of the whole process, and, by its run record, when the last image was scored, before any was
    ranked.

    Parameters
    ----------
    model : str, optional
        The bundled one by default.
    small, large : int
        Images; 50 distinct ones under many names.
    tiny : bool
        A network of one convolution: its own time is next to nothing, so that larger pools can
        be tried. Needs the package ``onnx``.
    """
    bundled = resources.files("deal") / "demo" / "model.onnx"
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        if tiny:
            from deal.bench.graphs import tiny_model

            model = str(folder / "tiny.onnx")
            Path(model).write_bytes(tiny_model())
        pool = write_pool(folder / "pool", large, _SIZE, distinct=50)
        listing = folder / "small.txt"
        names = sorted(path.name for path in pool.iterdir())[:small]
        listing.write_text("".join(f"pool/{name}\n" for name in names), encoding="utf-8")
        arguments = [deal_program("deal-score"), "--model", model or str(bundled)]
        arguments += ["--device", "cpu", "--output"]
        peaks, scored = {}, {}
        for count, source in ((small, listing), (large, pool)):
            output = folder / f"out-{count}"
            peaks[count] = run_child([*arguments, str(output), str(source)]).peak
            record = json.loads((output / "runs" / "0-of-1.json").read_text(encoding="utf-8"))
            scored[count] = record["peak_memory"]["scored"]
    return Report(
        question="memory",
        settings={"small": small, "large": large, "size": list(_SIZE), "tiny": tiny},
        rows=(
            *(Row(f"peak, {n} images", single(peaks[n] / 2**20), "MiB") for n in peaks),
            *(
                Row(f"peak once scored, {n} images", single(scored[n] / 2**20), "MiB")
                for n in scored
            ),
            Row(
                f"{large} images / {small} images",
                single(peaks[large] / peaks[small]),
                "ratio",
                "<= 1.05",
            ),
            Row(
                f"{large} images / {small} images, once scored",
                single(scored[large] / scored[small]),
                "ratio",
            ),
        ),
    )
