"""A round of ``deal loop`` like ``probe.py``'s, but with a difficulty that has its own features.

``own_features.py template`` comes first, after ``prepare.py``, and writes ``own.onnx``. Then
``own_features.py LABELED OUTPUT [unseen|without]``: the last layer is ``probe.py``'s, but for
rounding. Difficulty is an output of the graph: one more linear layer on what the last layer sees,
on the probabilities and on their variances, fitted on where the last layer is wrong; with
``unseen`` on where layers are that have not seen the image, a fourth of the images being left out
in turn; with ``without`` on probabilities and variances alone.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from probe import fit_classifier, minimise, sampled
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HERE = Path(__file__).parent
FOLDS = 4
DECAY = {False: 0.1, True: 1.0}  # of the weights of features, by ``unseen``
SCALE = 10  # of probabilities beside features, so that 100 steps are enough


@dataclass(frozen=True)
class Labeled:
    """Pixels whose class is known: M of them, of E features.

    Attributes
    ----------
    x : Tensor [M,E]
        Features less ``mean`` [E], in units of ``deviation`` [E].
    y, image : Tensor [M]
        Class, and number of the image.
    """

    x: Tensor
    y: Tensor
    image: Tensor
    mean: Tensor
    deviation: Tensor

    def layer(self, weights: Tensor) -> dict[str, Tensor]:
        """The graph's tensors of the last layer [E+1,C], for features as they are."""
        matrix = (weights[:-1] / self.deviation[:, None]).T
        return {
            "network.last.weight": matrix[..., None, None],
            "network.last.bias": weights[-1] - matrix @ self.mean,
        }


def read(labeled: str, ignore_index: int) -> Labeled:
    """The labeled pixels of the images of a CSV file."""
    data = torch.load(HERE / "features.pt", mmap=True)
    with open(labeled, newline="") as file:
        files = [(Path(row["image"]).name, row["label"]) for row in csv.DictReader(file)]
    sums, squares, pixels, classes, images = [], [], [], [], []
    for number, (name, label) in enumerate(files):
        features = data["features"][data["names"].index(name)].float()
        y, x = sampled(label, *features.shape[1:]).flatten(), features.flatten(1)
        exact = x.double()
        sums.append(exact.sum(1))
        squares.append(torch.linalg.vecdot(exact, exact))
        keep = y != ignore_index
        pixels.append(x[:, keep].T)
        classes.append(y[keep])
        images.append(torch.full_like(classes[-1], number))
    count = len(files) * len(y)
    mean = torch.stack(sums).sum(0) / count
    deviation = (torch.stack(squares).sum(0) / count - mean**2).clamp(min=0).sqrt() + 1e-6
    mean, deviation = mean.float(), deviation.float()
    x = (torch.cat(pixels) - mean) / deviation
    return Labeled(x, torch.cat(classes), torch.cat(images), mean, deviation)


def contract_of(model: onnx.ModelProto) -> dict[str, Any]:
    """What the model says of itself."""
    text = next(item.value for item in model.metadata_props if item.key == "deal")
    contract: dict[str, Any] = json.loads(text)
    return contract


def open_difficulty() -> None:
    """Write the template with an output ``difficulty`` [N,1,h,w], before the sigmoid, of zeros."""
    model = onnx.load(HERE / "template.onnx")
    graph = model.graph
    last = next(node for node in graph.node if "network.last.weight" in node.input)
    weight = next(item for item in graph.initializer if item.name == "network.last.weight")
    channels = weight.dims[1] + 2 * weight.dims[0]
    for name, shape in (("weight", (1, channels, 1, 1)), ("bias", (1,))):
        zeros = np.zeros(shape, np.float32)
        graph.initializer.append(numpy_helper.from_array(zeros, f"difficulty.{name}"))
    parameters = ["difficulty.weight", "difficulty.bias"]
    graph.node.extend(
        (
            helper.make_node("Softmax", ["logits"], ["p"], axis=1),
            helper.make_node("Mul", ["p", "p"], ["p_squared"]),
            helper.make_node("Concat", [last.input[0], "p", "p_squared"], ["seen"], axis=1),
            helper.make_node("Conv", ["seen", *parameters], ["difficulty"]),
        )
    )
    output = helper.make_tensor_value_info("difficulty", onnx.TensorProto.FLOAT, ["N", 1, "h", "w"])
    graph.output.append(output)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / "own.onnx")


def fit_head(x: Tensor, p: Tensor, wrong: Tensor, decay: float) -> Tensor:
    """Weights of features, p and p(1 - p), and the bias [E+2C+1], for [M,E] and [M,C].

    Pixels are weighed as by ``probe.fit_head``.
    """
    channels, q = x.shape[1], SCALE * torch.cat([p, p * (1 - p)], dim=1)
    weight = torch.where(wrong, wrong.sum() ** -1.5, (~wrong).sum() ** -1.5)
    weight /= weight.sum()
    head = torch.zeros(channels + q.shape[1] + 1, requires_grad=True)

    def loss() -> Tensor:
        of_x, of_p = head[:channels], head[channels:-1]
        logits = x @ of_x + q @ of_p + head[-1]
        fit = F.binary_cross_entropy_with_logits(logits, wrong.float(), reduction="none")
        return (weight * fit).sum() + decay * (of_x**2).sum() + 1e-4 * ((SCALE * of_p) ** 2).sum()

    found = minimise(head, loss, 100)
    found[channels:-1] *= SCALE
    return found


def unseen(seen: Labeled, classes: int) -> Tensor:
    """Probabilities [M,C] by layers fitted without a fourth of the images, theirs too."""
    numbers, place = np.unique(seen.image.numpy(), return_inverse=True)
    fold = torch.from_numpy((np.random.default_rng(0).permutation(len(numbers)) % FOLDS)[place])
    p = torch.empty(len(seen.y), classes)
    for number in range(FOLDS):
        out = fold == number
        layer = fit_classifier(seen.x[~out], seen.y[~out], classes)
        p[out] = (seen.x[out] @ layer[:-1] + layer[-1]).softmax(1)
    return p


def difficulty(head: Tensor, seen: Labeled) -> dict[str, Tensor]:
    """The graph's tensors of the difficulty, for features as they are, p and p²."""
    channels = len(seen.mean)
    of_x = head[:channels] / seen.deviation
    of_p, of_variance = head[channels:-1].chunk(2)
    weight = torch.cat([of_x, of_p + of_variance, -of_variance])
    return {
        "difficulty.weight": weight[None, :, None, None],
        "difficulty.bias": (head[-1] - of_x @ seen.mean)[None],
    }


def write(model: onnx.ModelProto, tensors: dict[str, Tensor], output: str) -> None:
    """Save the model with these tensors, and without a difficulty head in its metadata."""
    left = dict(tensors)
    for tensor in model.graph.initializer:
        if tensor.name in left:
            values = np.ascontiguousarray(left.pop(tensor.name).numpy())
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert not left, f"the model has no {', '.join(left)}"
    metadata = next(item for item in model.metadata_props if item.key == "deal")
    metadata.value = json.dumps(contract_of(model) | {"difficulty_head": None})
    onnx.save(model, output)


def main(labeled: str, output: str, kind: str = "training") -> None:
    """Fit on the images of a CSV file and write the model."""
    torch.set_num_threads(1)
    model = onnx.load(HERE / "own.onnx")
    contract = contract_of(model)
    classes = len(contract["classes"])
    seen = read(labeled, contract["ignore_index"])

    layer = fit_classifier(seen.x, seen.y, classes)
    crossed = kind == "unseen"
    p = unseen(seen, classes) if crossed else (seen.x @ layer[:-1] + layer[-1]).softmax(1)
    wrong = p.argmax(1) != seen.y
    if kind == "without":
        head = fit_head(seen.x[:, :0], p, wrong, 0.0)
        head = torch.cat([torch.zeros(seen.x.shape[1]), head])
    else:
        head = fit_head(seen.x, p, wrong, DECAY[crossed])
    write(model, seen.layer(layer) | difficulty(head, seen), output)
    share = 100 * float(wrong.float().mean())
    print(f"{len(seen.image.unique())} images, {share:.1f} % of {len(seen.y)} pixels wrong")


if __name__ == "__main__":
    if sys.argv[1:] == ["template"]:
        open_difficulty()
    else:
        main(*sys.argv[1:])
