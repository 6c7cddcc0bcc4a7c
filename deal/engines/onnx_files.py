"""What all engines that run ONNX files say and refuse."""

from __future__ import annotations

from collections.abc import Mapping

from deal.errors import ModelError
from deal.machine.processor import has_int8_dot_product
from deal.model.spec import ModelSpec

__all__ = ["computed_in_float", "first_line", "not_run"]


def not_run(spec: ModelSpec, shape: tuple[int, ...], error: Exception) -> ModelError:
    """The error about a network that does not run on a batch."""
    return ModelError(
        f"model {spec.path} does not run on a batch {list(shape)}: set input_size or "
        f"size_multiple to sizes that it takes; if memory is short, use smaller batches "
        f"({first_line(error)})"
    )


def computed_in_float(spec: ModelSpec) -> bool:
    """Whether an int8 model of ``deal export`` is for GPUs and must be computed in float here.

    Raises ModelError if sums of the model would silently overflow on this processor.
    """
    facts = spec.provenance.get("conversion")
    if isinstance(facts, Mapping) and facts.get("target") == "gpu":
        return True
    needs_dot_product = isinstance(facts, Mapping) and facts.get("reduce_range") is False
    if spec.precision == "int8" and needs_dot_product and not has_int8_dot_product():
        raise ModelError(
            f"model {spec.path} has int8 weights of 8 bits, whose sums overflow on this processor "
            "(x86 without VNNI): convert it again with --reduce-range on"
        )
    return False


def first_line(error: Exception) -> str:
    """The first line of what a runtime says, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
