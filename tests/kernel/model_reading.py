"""deal_model_read, called as a C program would: the struct of deal_model.h in ctypes."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_uint8
from pathlib import Path
from typing import Any

import numpy as np

from deal import _native

__all__ = ["facts_by_c", "facts_by_python"]

LIBRARY = ctypes.CDLL(_native.__file__)
LIBRARY.deal_last_error.restype = c_char_p


class Head(Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("weight", POINTER(c_float)),
        ("channels", c_int64),
        ("gamma", c_float),
        ("bias", c_float),
        ("grid", c_int64 * 2),
        ("attention", c_int32),
        ("uncertainty_weight", POINTER(c_float)),
    ]


class Entry(Structure):
    _fields_ = [("key", c_char_p), ("value", c_char_p)]


class Dropout(Structure):
    _fields_ = [("name", c_char_p), ("channels", c_int64), ("rate", c_double)]


class Model(Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("block_bytes", c_int64),
        ("input_name", c_char_p),
        ("input_dtype", c_int32),
        ("input_layout", c_int32),
        ("input_bgr", c_int32),
        ("placing", c_int32),
        ("filter", c_int32),
        ("input_size", c_int64 * 2),
        ("size_multiple", c_int64),
        ("batch", c_int64),
        ("pad_value", c_uint8 * 3),
        ("pad_top_left", c_uint8),
        ("normalised", c_int32),
        ("mean", c_double * 3),
        ("std", c_double * 3),
        ("dropouts", c_int64),
        ("dropout", POINTER(Dropout)),
        ("session_entries", c_int64),
        ("session_entry", POINTER(Entry)),
        ("weight_files", c_int64),
        ("weight_file", POINTER(c_char_p)),
        ("output_name", c_char_p),
        ("output_dtype", c_int32),
        ("output_layout", c_int32),
        ("probabilities", c_int32),
        ("sigmoid", c_int32),
        ("sampling", c_int32),
        ("classes", c_int64),
        ("class_name", POINTER(c_char_p)),
        ("palette", POINTER(c_uint8)),
        ("has_ignore_index", c_int32),
        ("ignore_index", c_int32),
        ("precision", c_char_p),
        ("difficulty_name", c_char_p),
        ("head", POINTER(Head)),
        ("embedding_name", c_char_p),
    ]


DTYPES = ["float32", "float16", "bfloat16", "int8", "uint8", "float64"]
LAYOUTS = ["nchw", "nhwc"]
PLACINGS = ["stretch", "letterbox", "crop", "none"]
FILTERS = ["bilinear-antialias", "bicubic-antialias", "nearest"]


def facts_by_c(path: Path) -> dict[str, Any] | str:
    """What deal_model_read tells of a file, or its error."""
    model = Model(struct_size=ctypes.sizeof(Model))
    name = bytes(path)
    if LIBRARY.deal_model_read(name, None, c_int64(0), ctypes.byref(model)) != 0:
        return LIBRARY.deal_last_error().decode("utf-8", "replace")
    size = model.block_bytes
    block = ctypes.create_string_buffer(size)
    assert LIBRARY.deal_model_read(name, block, c_int64(size), ctypes.byref(model)) == 0
    assert model.block_bytes == size
    head = model.head[0] if model.head else None
    count = model.classes
    return {
        "classes": tuple(model.class_name[i].decode() for i in range(count)),
        "input": (model.input_name.decode(), DTYPES[model.input_dtype]),
        "output": (model.output_name.decode(), DTYPES[model.output_dtype]),
        "layouts": (LAYOUTS[model.input_layout], LAYOUTS[model.output_layout]),
        "bgr": bool(model.input_bgr),
        "placing": (PLACINGS[model.placing], FILTERS[model.filter]),
        "size": tuple(model.input_size) if model.input_size[0] else None,
        "multiple": model.size_multiple,
        "batch": model.batch or None,
        "pad": (tuple(model.pad_value), bool(model.pad_top_left)),
        "levels": (tuple(model.mean), tuple(model.std)) if model.normalised else None,
        "dropout": [
            (layer.name.decode(), layer.channels, layer.rate)
            for layer in model.dropout[: model.dropouts]
        ],
        "weight_files": tuple(model.weight_file[i].decode() for i in range(model.weight_files)),
        "kind": ("probabilities" if model.probabilities else "logits", bool(model.sigmoid)),
        "align_corners": bool(model.sampling),
        "palette": list(model.palette[: 3 * count]) if model.palette else None,
        "ignore_index": model.ignore_index if model.has_ignore_index else None,
        "precision": model.precision.decode() if model.precision else None,
        "side_outputs": (bool(model.difficulty_name), bool(model.embedding_name)),
        "head": head
        and {
            "numbers": (head.gamma, head.bias),
            "weight": list(head.weight[: head.channels]),
            "grid": tuple(head.grid) if head.grid[0] else None,
            "uncertainty_weight": list(head.uncertainty_weight[: head.channels])
            if head.uncertainty_weight
            else None,
        },
        "entries": {
            entry.key.decode(): entry.value.decode()
            for entry in model.session_entry[: model.session_entries]
        },
    }


def facts_by_python(path: Path) -> dict[str, Any] | str:
    """The same by deal.model, or its error."""
    from deal.engines.onnxruntime import FLOAT_STAYS, QDQ_IN_FLOAT
    from deal.errors import ModelError
    from deal.model.spec import read_spec

    try:
        spec = read_spec(path)
    except ModelError as error:
        return str(error)
    facts = spec.provenance.get("conversion")
    for_gpu = isinstance(facts, dict) and facts.get("target") == "gpu"
    head = spec.difficulty_head
    extra = None if head is None else head.uncertainty_weight
    return {
        "classes": spec.classes,
        "input": (spec.input_name, spec.input_dtype),
        "output": (spec.output_name, spec.output_dtype),
        "layouts": (spec.input_layout, spec.output_layout),
        "bgr": "bgr" in spec.input_format,
        "placing": (spec.resize, spec.interpolation),
        "size": spec.input_size,
        "multiple": spec.size_multiple,
        "batch": spec.batch,
        "pad": (spec.pad_value, spec.pad_position == "top-left"),
        "levels": None if spec.mean is None else (spec.mean, spec.std),
        "dropout": [(layer.input, layer.channels, layer.rate) for layer in spec.dropout],
        "weight_files": spec.external,
        "kind": (spec.output_kind, spec.activation == "sigmoid"),
        "align_corners": spec.align_corners,
        "palette": None if spec.palette is None else [v for rgb in spec.palette for v in rgb],
        "ignore_index": spec.ignore_index,
        "precision": spec.precision,
        "side_outputs": (spec.difficulty_name is not None, spec.embedding_name is not None),
        "head": head
        and {
            "numbers": (np.float32(head.gamma), np.float32(head.bias)),
            "weight": np.float32(head.weight).tolist(),
            "grid": head.grid,
            "uncertainty_weight": None if extra is None else np.float32(extra).tolist(),
        },
        "entries": dict([FLOAT_STAYS, *([QDQ_IN_FLOAT] if for_gpu else [])]),
    }
