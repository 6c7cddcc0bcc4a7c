"""Rows of ``deal bench pipeline`` for what a call asks for beside ``deal-score``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deal.bench.report import Row
from deal.bench.timing import ratios, spread

__all__ = ["OPENVINO", "SCREENED", "openvino_rows", "screened_rows", "with_this_network"]

# Engine and precision beside it → least ratio to ONNX Runtime, and of the light network to the
# released loop.
OPENVINO: dict[str, tuple[float | None, float | None]] = {
    "OpenVINO fp32": (None, None),
    "OpenVINO bf16": (2, 18),
    "OpenVINO int8": (None, 30),
}
SCREENED = "deal-score, 5 % of a screened pool"
_SCREENED_TARGETS = {("light", True): 60}  # network, quantised → times the released loop

Rates = Mapping[str, Sequence[float]]


def openvino_rows(rates: Rates, network: str) -> list[Row]:
    """``deal-score`` on OpenVINO, beside itself on ONNX Runtime and the released loop."""
    rows = []
    for name, (of_ours, of_released) in OPENVINO.items():
        if name not in rates:
            continue
        theirs = rates[name]
        rows.append(Row(f"deal-score, {name}", spread(theirs), "images/s"))
        for peer, of, least in (
            ("deal-score", "whole", of_ours),
            ("released loop", "released", of_released if network == "light" else None),
        ):
            target = None if least is None else f">= {least}"
            rows.append(
                Row(f"deal-score, {name} / {peer}", ratios(theirs, rates[of]), "ratio", target)
            )
    return rows


def screened_rows(rates: Rates, network: str, *, quantised: bool) -> list[Row]:
    """``deal-score`` with screening, beside itself without and the released loop."""
    if SCREENED not in rates:
        return []
    ours, least = rates[SCREENED], _SCREENED_TARGETS.get((network, quantised))
    target = None if least is None else f">= {least}"
    return [
        Row(SCREENED, spread(ours), "images/s"),
        Row(f"{SCREENED} / deal-score", ratios(ours, rates["whole"]), "ratio"),
        Row(f"{SCREENED} / released loop", ratios(ours, rates["released"]), "ratio", target),
    ]


def with_this_network(rates: Rates) -> list[Row]:
    """``deal-score`` beside the released loop on the network that it runs itself."""
    if "with this network" not in rates:
        return []
    theirs = rates["with this network"]
    return [
        Row("released loop with this network", spread(theirs), "images/s"),
        Row(
            "deal-score / released loop with this network", ratios(rates["whole"], theirs), "ratio"
        ),
    ]
