"""How fast is a pool scored, beside the released loop, a plain loop and the bare network?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import deal
from deal.bench.failed import FailedCheckError
from deal.bench.networks import int8_model, random_network, static_model
from deal.bench.pipeline_rows import (
    OPENVINO,
    SCREENED,
    openvino_rows,
    screened_rows,
    with_this_network,
)
from deal.bench.report import Report, Row
from deal.bench.screen import name_of
from deal.bench.sessions import Sessions, network_costs
from deal.bench.timing import interleave, ratios, single, spread
from deal.errors import UsageError
from deal.export.images import image_of
from deal.machine.cores import available_cores
from deal.machine.processor import has_bfloat16
from deal.metrics import spearman
from deal.model.placing import half_size
from deal.model.spec import ModelSpec, read_spec
from deal.pool.ids import id_to_path
from deal.pool.listing import Pool
from deal.synthetic.scenes import write_pool
from deal.types import PoolItem

if TYPE_CHECKING:
    from deal.training.difficulty import WithDifficulty

__all__ = ["run"]

_SIZE = (360, 480)
_PRODUCT = 2048
# Network, quantised → least ratio to the released loop, and share of the bare sessions.
_TARGETS = {
    ("paper", False): (3, 0.97),
    ("paper", True): (6, 0.95),
    ("light", False): (10, 0.95),
    ("light", True): (18, 0.92),
}
_SCREEN = "0.5"
_SCREENING: dict[str, Any] = {
    "acquisition": "ds",
    "budget": "5%",
    "spread": "off",
    "screen_keep": 0.95,
}
_FMA_TARGET = 0.9
_STATISTICS_TARGET = 0.01
_STATISTICS_CALLS = 60


def run(
    *,
    pool: Sequence[str] = (),
    model: str | None = None,
    network: str = "paper",
    precision: str = "fp32",
    sessions: int | None = None,
    threads: int = 1,
    raster: Literal["input", "half"] = "input",
    batch_size: int = 1,
    images: int = 200,
    peer_images: int = 40,
    rounds: int = 3,
    openvino: bool = False,
    screened: bool = False,
    screen: str = _SCREEN,
) -> Report:
    """Time ``score_pool`` and its peers on the same images and cores, in turns.

    The bare sessions find their images decoded in memory and throw the logits away; they and
    ``score_pool`` open their sessions within the measured time. The slower peers score the first
    ``peer_images`` of the pool, their networks ready, and the released loop has a process of its
    own. All compute ``ds`` as released. The released loop runs the paper's network; with another
    ``network`` it is timed with that, too.

    Parameters
    ----------
    pool : sequence of str
        Images of 360×480; street scenes by default.
    model : str, optional
        What ``score_pool`` and the bare sessions run in place of ``network``: for instance the
        same, trained and converted.
    network : ``paper`` or ``light``
        With random weights; the peers run it in float32.
    precision : ``fp32`` or ``int8``
        Of the network as ``score_pool`` and the bare sessions run it; float32 networks in the form
        that ``deal export --static`` gives them.
    openvino : bool
        Time ``score_pool`` on OpenVINO in the same turns: the same file, and of a float32 network
        also in bf16 where the processor computes it.
    screened : bool
        Time ``score_pool`` in the same turns as it finds 5 % of the pool by ``ds``, screened for
        0.95 of the best possible mean (:mod:`deal.bench.screen` says what that keeps).
    screen : str
        How it is screened, as `deal.score_pool` takes it.
    raster : ``input`` or ``half``
        Of ``score_pool`` and of the kernel beside the network, where times count. The peers' scores
        are compared with those of ``input``.

    Raises
    ------
    UsageError
        ``screen`` is given without ``screened``.
    EngineUnavailableError
        OpenVINO is asked for and not installed.
    FailedCheckError
        A peer scores the images in another order.
    """
    import torch

    from deal.bench.released import ReleasedLoop

    if screen != _SCREEN and not screened:
        raise UsageError("--screen says how --screened screens: give both, or none")
    cores = available_cores()
    sessions = sessions or cores
    torch.set_num_threads(cores)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deal-bench-")))
        sources = list(pool) or [str(write_pool(folder / "pool", images, _SIZE))]
        trained, fp32 = random_network(folder, network)
        path = Path(model) if model else int8_model(fp32) if precision == "int8" else fp32
        _check_input(read_spec(path))
        items = [item for item in Pool(sources) if isinstance(item, PoolItem)][:images]
        listing = folder / "pool.txt"
        listing.write_text("".join(f"{path}\n" for path in _paths(items)), encoding="utf-8")
        batches = _decoded(items, batch_size)
        macs, quantised = network_costs(path, batches[0][0], folder)
        plain = path
        static = not quantised and read_spec(path).precision in (None, "fp32")
        if static:
            path = static_model(path, folder, _SIZE)
        outputs = (folder / f"out-{number}" for number in range(10_000))

        def whole(
            of: Path = path,
            engine: str = "ort",
            computed: str | None = None,
            raster: Literal["input", "half"] = raster,
            **screening: Any,
        ) -> Path:
            output = next(outputs)
            done = deal.score_pool(
                [str(listing)],
                model=of,
                output=output,
                sessions=sessions,
                threads=threads,
                batch_size=batch_size,
                raster=raster,
                device="cpu",
                engine=engine,
                precision=computed,
                **screening,
            )
            if not screening and done.scored != len(items):
                raise FailedCheckError(f"{done.scored} of {len(items)} images were scored")
            return output

        paths = _paths(items[:peer_images])
        released = stack.enter_context(ReleasedLoop(trained, paths, _SIZE))
        plain_loop = _plain_loop(trained, fp32, paths)
        peers: dict[str, Callable[[], NDArray[np.float64]]]
        peers = {"plain": plain_loop, "released": released}
        agreement = _check(_stored_scores(whole(fp32, raster="input"), items), peers)
        if network != "paper":
            peers["with this network"] = peers["released"]
            paper, _ = random_network(folder, "paper")
            peers["released"] = stack.enter_context(ReleasedLoop(paper, paths, _SIZE))
        matrix = torch.rand(_PRODUCT, _PRODUCT)
        logits, head = Sessions(path, 1, 1).logits(batches[0][:1]), trained.head()
        size = half_size(_SIZE) if raster == "half" else _SIZE

        def statistics() -> None:
            for _ in range(_STATISTICS_CALLS):
                deal.score_logits(logits, size=size, head=head, threads=1, contours=False)

        seconds = interleave(
            {
                "bare": lambda: Sessions(path, sessions, threads).run(batches),
                "whole": whole,
                **_on_openvino(whole, plain, quantised=quantised, asked=openvino),
                **(
                    {SCREENED: partial(whole, plain, screen=screen, **_SCREENING)}
                    if screened
                    else {}
                ),
                **peers,
                "statistics": statistics,
                "sgemm": lambda: torch.mm(matrix, matrix),
            },
            rounds=rounds,
            warmup=0,
            pause=0.3,
        )
    rates = {
        name: [
            (len(items) if name in ("bare", "whole", SCREENED, *OPENVINO) else len(paths)) / s
            for s in values
        ]
        for name, values in seconds.items()
    }
    peak = [_PRODUCT**3 / s for s in seconds["sgemm"]]
    released_target, bare_target = _TARGETS[network, quantised]
    bound = [peak_rate / macs for peak_rate in peak]
    busy = min(sessions * threads, cores)
    of_network = [  # CPU time of both
        seconds_of / _STATISTICS_CALLS * rate / busy
        for seconds_of, rate in zip(seconds["statistics"], rates["bare"], strict=True)
    ]
    rows = [
        Row("deal-score", spread(rates["whole"]), "images/s"),
        Row("bare sessions", spread(rates["bare"]), "images/s"),
        Row("plain ONNX Runtime and NumPy loop", spread(rates["plain"]), "images/s"),
        Row("released loop", spread(rates["released"]), "images/s"),
        Row(
            "deal-score / released loop",
            ratios(rates["whole"], rates["released"]),
            "ratio",
            f">= {released_target}",
        ),
        *with_this_network(rates),
        *openvino_rows(rates, network),
        *screened_rows(rates, network, quantised=quantised),
        Row("deal-score / plain loop", ratios(rates["whole"], rates["plain"]), "ratio"),
        Row(
            "deal-score / bare sessions",
            ratios(rates["whole"], rates["bare"]),
            "ratio",
            f">= {bare_target}",
        ),
        Row(
            "kernel and head / network",
            spread(of_network),
            "ratio",
            f"<= {_STATISTICS_TARGET}" if (network, quantised) == ("paper", False) else None,
        ),
        Row("FMA bound of the network", spread(bound), "images/s"),
        Row("sgemm", spread([2e-9 * value for value in peak]), "GFLOP/s"),
        Row("network", single(macs / 1e9), "GMAC/image"),
    ]
    if not quantised:
        target = f">= {_FMA_TARGET}" if network == "paper" else None
        rows.append(Row("deal-score / FMA bound", ratios(rates["whole"], bound), "ratio", target))
    return Report(
        question="pipeline",
        settings={
            "images": len(items),
            "peer_images": len(paths),
            "size": list(batches[0].shape[1:3]),
            "network": network,
            "model": Path(model).name if model else None,
            "quantised": quantised,
            "static": static,
            "sessions": sessions,
            "threads": threads,
            "raster": raster,
            "batch_size": batch_size,
            "rounds": rounds,
            "agreement": agreement,
            "openvino": openvino,
            "screened": screened,
            **({"screen": name_of(screen)} if screened else {}),
        },
        rows=tuple(rows),
    )


def _on_openvino(
    whole: Callable[..., Path], path: Path, *, quantised: bool, asked: bool
) -> Mapping[str, Callable[[], Path]]:
    """``score_pool`` on OpenVINO, by the name of its row."""
    if not asked:
        return {}
    if quantised:
        return {"OpenVINO int8": partial(whole, path, "openvino")}
    found = {"OpenVINO fp32": partial(whole, path, "openvino")}
    if has_bfloat16():
        found["OpenVINO bf16"] = partial(whole, path, "openvino", "bf16")
    return found


def _plain_loop(
    trained: WithDifficulty, path: Path, paths: Sequence[Path]
) -> Callable[[], NDArray[np.float64]]:
    """The loop that a user of ONNX Runtime writes on one exported graph."""
    import onnxruntime

    from deal.bench.graphs import whole_graph

    session: Any = onnxruntime.InferenceSession(
        whole_graph(path, trained.head(), _SIZE), providers=["CPUExecutionProvider"]
    )

    def plain() -> NDArray[np.float64]:
        scores = []
        for image in paths:
            with Image.open(image) as file:
                rgb = np.asarray(file.convert("RGB").resize(_SIZE[::-1], Image.Resampling.BILINEAR))
            _, difficulty = session.run(["probabilities", "difficulty"], {"image": rgb[None]})
            scores.append(float(difficulty.mean()))
        return np.array(scores)

    return plain


def _stored_scores(output: Path, items: Sequence[PoolItem]) -> NDArray[np.float64]:
    """``ds`` of the items, in their order."""
    table = deal.read_results([str(output)])
    values = dict(
        zip(
            table.column("uri").to_pylist(),
            deal.acquisition_scores(table, "ds").tolist(),
            strict=True,
        )
    )
    return np.array([values[str(path)] for path in _paths(items)])


def _paths(items: Sequence[PoolItem]) -> list[Path]:
    return [Path(id_to_path(item.uri)).resolve() for item in items]


def _check(
    ours: NDArray[np.float64], peers: dict[str, Callable[[], NDArray[np.float64]]]
) -> dict[str, dict[str, float]]:
    """Run each peer once, and hold its scores to ours."""
    agreement = {}
    for name, peer in peers.items():
        theirs = peer()
        mine = ours[: len(theirs)]
        difference = float(np.abs(mine - theirs).max())
        correlation = spearman(mine, theirs)
        if difference > 1e-3 or (len(mine) > 2 and not correlation > 0.99):
            raise FailedCheckError(
                f"the {name} loop's scores differ by up to {difference:.2g} "
                f"(Spearman {correlation:.4f})"
            )
        agreement[name] = {"max_difference": difference, "spearman": float(correlation)}
    return agreement


def _check_input(spec: ModelSpec) -> None:
    """UsageError for a network that cannot be fed as the peers' is."""
    size = f"{_SIZE[0]}×{_SIZE[1]}"
    fits = spec.input_size in (None, _SIZE) and not any(n % spec.size_multiple for n in _SIZE)
    if not fits or spec.input_format != "rgb8" or spec.input_layout != "nhwc":
        raise UsageError(
            f"the peers run on RGB images of {size}, uint8 [N,H,W,3], and model {spec.path} takes "
            "others: measure it with deal bench model"
        )


def _decoded(items: Sequence[PoolItem], batch_size: int) -> list[NDArray[np.uint8]]:
    images = [image_of(item) for item in items]
    if {image.shape for image in images} != {(*_SIZE, 3)}:
        raise FailedCheckError(f"the pipeline benchmark wants images of {_SIZE[0]}×{_SIZE[1]}")
    return [np.stack(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
