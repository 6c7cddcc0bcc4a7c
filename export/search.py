"""Search for the layers that have to stay in float32, so that the selection stays the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deal.errors import ModelError
from deal.export.deadline import OutOfTimeError
from deal.export.fidelity import LIMITS, Fidelity
from deal.export.graph import Layer

__all__ = ["Sensitivity", "fewest_float_layers", "fidelity_table", "refusal", "sensitivity_table"]

Judge = Callable[[Sequence[Layer]], Fidelity]


@dataclass(frozen=True)
class Sensitivity:
    """What a layer costs.

    Attributes
    ----------
    layer : Layer
    operator : str
        ONNX's name of its first node's operator.
    logit_error : float
        Root mean square change of the logits when this layer alone is quantised, as a share of
        their standard deviation; over calibration images.
    multiplications : int
        Of the layer, for one image.
    """

    layer: Layer
    operator: str
    logit_error: float
    multiplications: int


def fewest_float_layers(
    ranked: Sequence[Sensitivity], judge: Judge, seconds: float
) -> tuple[tuple[Layer, ...], Fidelity]:
    """Leave the worst layers in float32, and as few as possible.

    Their number is doubled until the gate passes, then halved back between the last that failed
    and the first that passed: some 2·log₂ L judgements of L layers. Of those found, each is then
    tried in int8 after all, the costliest first: a layer may have been in the list for its own
    error, and the gate pass without.

    Parameters
    ----------
    ranked : sequence of Sensitivity
        From the worst down.
    judge : callable
        Fidelity of the model with these layers left in float32.
    seconds : float
        No judgement begins later than this, and one that raises OutOfTimeError counts for
        nothing; the best found until then counts.

    Returns
    -------
    tuple of Layer, Fidelity
        The layers, the worst first, and a fidelity that passed.

    Raises
    ------
    ModelError
        Half of the layers in float32 do not pass, or time ran out before anything did: the
        table of layers, and what failed.
    """
    end = time.monotonic() + seconds

    def judged(items: Sequence[Sensitivity]) -> Fidelity | None:
        """Fidelity with these layers in float32; None if there is no time for it."""
        if time.monotonic() >= end:
            return None
        try:
            return judge([item.layer for item in items])
        except OutOfTimeError:
            return None

    most = max(len(ranked) // 2, 1)
    failed, count = 0, 1
    last: Fidelity | None = None
    while (found := judged(ranked[:count])) is not None:
        last = found
        if found.passed:
            break
        failed = count
        if count == most:
            break
        count = min(2 * count, most)
    if found is None or not found.passed:
        raise ModelError(refusal(ranked, last, failed, found is None))
    passed = found
    while count - failed > 1 and (found := judged(ranked[: (count + failed) // 2])) is not None:
        if found.passed:
            count, passed = (count + failed) // 2, found
        else:
            failed = (count + failed) // 2
    kept = list(ranked[:count])
    for item in sorted(kept, key=lambda item: -item.multiplications):
        others = [other for other in kept if other is not item]
        if not others or (found := judged(others)) is None:
            break
        if found.passed:
            kept, passed = others, found
    return tuple(item.layer for item in kept), passed


def refusal(
    ranked: Sequence[Sensitivity], fidelity: Fidelity | None, count: int, timed_out: bool
) -> str:
    """Why nothing is written: the failed comparison, and the worst layers."""
    reason = "the time for the search ran out" if timed_out else "half of the layers"
    lines = [
        f"int8 does not select as float32 does, with {count} of {len(ranked)} layers left in "
        f"float32 ({reason}); nothing is written",
    ]
    if fidelity is not None:
        lines += fidelity_table(fidelity)
    lines += sensitivity_table(ranked)
    lines.append(
        "give more --images of the pool, try --reduce-range off for a processor with VNNI, or "
        "--precision fp16"
    )
    return "\n".join(lines)


def sensitivity_table(ranked: Sequence[Sensitivity], count: int = 12) -> list[str]:
    """Lines of text: the worst layers and what each costs alone."""
    return [
        f"{'logit error alone':>18}  layer",
        *(f"{item.logit_error:>18.4f}  {item.operator} {item.layer[0]}" for item in ranked[:count]),
    ]


def fidelity_table(fidelity: Fidelity) -> list[str]:
    """Lines of text: one per score, with its numbers and whether they pass."""
    names = {"spearman": "Spearman", "overlap": "top 10 % overlap", "pick_value": "picks' mean"}
    lines = [
        f"{'score':<12}"
        + "".join(f"{f'{name} ≥ {LIMITS[key]:g}':>26}" for key, name in names.items())
    ]
    for name, score in fidelity.scores.items():
        cells = "".join(f"{getattr(score, key):>26.4f}" for key in names)
        lines.append(f"{name:<12}{cells}{'' if score.passed else '  fails'}")
    return lines
