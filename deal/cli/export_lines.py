"""What ``deal export`` prints about what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deal.text import printable

if TYPE_CHECKING:
    from deal.export.hf import HfExport
    from deal.export.parity import Parity
    from deal.export.precision import Conversion

__all__ = ["checkpoint_lines", "conversion_lines", "parity_lines"]

_RESIZED = {"stretch": "stretched", "crop": "scaled and cropped"}


def checkpoint_lines(export: HfExport) -> list[str]:
    """What was read from a checkpoint of transformers, and how the pipelines agree."""
    size = export.input_size
    names = [printable(name) for name in export.classes[:4]]
    more = ", …" if len(export.classes) > len(names) else ""
    how = "images of any size"
    if size is not None:
        how = f"images {_RESIZED[export.resize]} to {size[0]}×{size[1]}"
    interpolation = "" if size is None else f" ({export.interpolation})"
    others = "" if export.any_size else "; the graph takes no other size"
    agreement = export.pipeline
    license_ = printable(export.license or "none stated; look where the checkpoint comes from")
    return [
        f"{export.architecture}, {len(export.classes)} classes: {', '.join(names)}{more}",
        f"input: {how}{interpolation}{others}",
        f"license: {license_}",
        *(f"note: {printable(note)}" for note in export.notes),
        f"{agreement.images} images, the pipeline of transformers against that of deal: logits "
        f"differ by at most {agreement.max_logit_difference:.2g}, "
        f"{agreement.class_agreement:.2%} of the pixels have the same class",
    ]


def parity_lines(parity: Parity, what: str) -> list[str]:
    """How two networks agree; ``what`` names them."""
    lines = [
        f"{parity.images} images, {what}: "
        f"logits differ by at most {parity.max_logit_difference:.2g}",
        f"{'score':<12}{'max difference':>16}{'Spearman':>12}{f'top {parity.top_k} overlap':>18}",
    ]
    for name, score in parity.scores.items():
        lines.append(
            f"{name:<12}{score.max_difference:>16.2g}{score.spearman:>12.6f}"
            f"{score.top_k_overlap:>17.0%}"
        )
    if parity.max_embedding_difference is not None:
        share = parity.max_embedding_difference
        lines.append(f"embeddings differ by at most {share:.2g} of their greatest number")
    return lines


def conversion_lines(conversion: Conversion) -> list[str]:
    """What a conversion keeps, and how well its selections agree."""
    from deal.export.search import fidelity_table, sensitivity_table

    fidelity = conversion.fidelity
    lines = [
        f"{conversion.precision} against fp32 on {conversion.held_out}: "
        f"{fidelity.argmax_agreement:.2%} of the cells predicted alike, "
        f"logits off by {fidelity.logit_error:.1%} of their spread",
        *fidelity_table(fidelity),
    ]
    if conversion.reduce_range is not None:
        bits = "7 (every x86 processor)" if conversion.reduce_range else "8 (x86: needs VNNI)"
        lines.append(f"calibrated on {conversion.calibration}; bits of weights: {bits}")
    elif conversion.target == "gpu":
        lines.append(f"calibrated on {conversion.calibration}; symmetric, for TensorRT")
    if conversion.float_layers:
        lines.append(f"left in fp32: {', '.join(conversion.float_layers)}")
        lines += sensitivity_table(conversion.sensitivities)
    return lines
