"""Which options of ``deal export`` go with what it reads and makes: others would do nothing."""

from __future__ import annotations

import click
from click.core import ParameterSource

from deal.errors import UsageError

__all__ = ["check_options"]

_NETWORKS = "networks of PyTorch: export the checkpoint again with it"
_SEARCHED = ("held_out", "search_minutes")
_OF_INT8 = ("target", "reduce_range")


def check_options(
    kind: str, model: str, *, cut: bool, precision: str, static: bool, is_int8: bool = False
) -> None:
    """Refuse options that were given and would have no effect; raises UsageError.

    Parameters
    ----------
    kind : ``onnx``, ``checkpoint``, ``hf`` or ``imagenet``
        What ``model`` is.
    is_int8 : bool
        The model is int8 already, and is only rewritten.
    """
    converts = precision != "fp32" and not is_int8
    of_onnx = kind == "onnx"
    where = f"{model} is an ONNX file, and" if of_onnx else ""
    for name in ("opset", "dropout", "embedding"):
        if of_onnx and _is_given(name):
            raise UsageError(f"{where} --{name} is for {_NETWORKS}")
    if cut or is_int8:
        what = "--cut" if cut else f"{model} is int8 already, and to write it again"
        for name in ("images", "tolerance", *_SEARCHED, *_OF_INT8):
            if _is_given(name):
                raise UsageError(f"{what} takes no --{_written(name)}: leave it out")
        return
    if not converts:
        for name in (*_SEARCHED, *_OF_INT8):
            if _is_given(name):
                raise UsageError(
                    f"--{_written(name)} is for conversions: add --precision, or leave it out"
                )
    elif precision != "int8" and _is_given("reduce_range"):
        raise UsageError(f"--reduce-range is for int8: leave it out with --precision {precision}")
    if of_onnx and not static and _is_given("tolerance"):
        raise UsageError(
            "--tolerance is for checkpoints and --static: a conversion is held to its selections "
            "instead, so leave it out"
        )
    if of_onnx and not static and not converts and _is_given("images"):
        click.echo(
            "note: --difficulty-head puts numbers into the file and runs no images, so --images is "
            "not read",
            err=True,
        )


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT


def _written(name: str) -> str:
    return name.replace("_", "-")
