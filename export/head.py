"""Put a difficulty head into an ONNX model, so that one file travels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx

from deal.errors import ModelError
from deal.export.files import new_file, write_model
from deal.model.spec import choose_difficulty, contract_values, read_spec

__all__ = ["with_head"]


def with_head(model: str | Path, head: str | Path, output: str | Path) -> None:
    """Write the same network with another head in its metadata.

    Parameters
    ----------
    model : path
        ONNX model; what a ``MODEL.json`` beside it says goes into the metadata, too.
    head : path
        Head file, as ``deal fit-head`` writes it.
    output : path
        Holds all weights, also those that ``model`` keeps in other files. Weights of more than
        2 GB lie in ``NAME.data`` beside it.

    Raises
    ------
    ModelError
        The model does not keep the contract, computes its difficulty itself, or has another number
        of classes than the head.
    UsageError
        The output is the model or the head.
    OutputError
        The file cannot be written.
    """
    model = Path(model)
    spec = read_spec(model)
    if spec.difficulty_name is not None:
        raise ModelError(
            f"model {model} has an output {spec.difficulty_name!r}, which counts before a head in "
            "its metadata: score it with deal score --difficulty-head instead"
        )
    chosen, _ = choose_difficulty(spec, head)
    assert chosen is not None
    provenance = {
        **spec.provenance,
        "difficulty_head_sha256": hashlib.sha256(Path(head).read_bytes()).hexdigest(),
    }
    contract = {
        **contract_values(model),
        "difficulty_head": chosen.to_dict(),
        "provenance": provenance,
    }
    with new_file(Path(output), contract, read=(model, head)) as temporary:
        write_model(temporary, onnx.load(model), contract)
