"""The traced networks that tests keep: one per content of all that a trace depends on."""

from __future__ import annotations

import onnx
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from tests.helpers import exports  # noqa: E402


@pytest.fixture
def made(tmp_path, monkeypatch):
    """What was traced, by a stand-in that numbers its graphs; they are kept in a new folder."""
    numbers = []

    def to_onnx(*arguments, **options):
        numbers.append(len(numbers))
        return onnx.ModelProto(producer_name=str(numbers[-1]))

    monkeypatch.setattr(exports, "_to_onnx", to_onnx)
    monkeypatch.setattr(exports, "_KEPT", tmp_path / "traced")
    return numbers


def network(rate: float = 0.5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(rate))


def test_the_same_network_is_traced_once_and_left_in_evaluation_mode(made):
    first = exports.traced(network(), {"classes": 4}, 18)
    again = network().train()
    assert exports.traced(again, {"classes": 4}, 18) == first
    assert made == [0]
    assert not again.training


def test_whatever_a_trace_depends_on_makes_another(made, tmp_path, monkeypatch):
    weights, averages = network(), network()
    with torch.no_grad():
        weights[0].weight[0, 0] += 1e-6
        averages[1].running_mean[0] = 1e-6
    calls = [
        (network(), {"classes": 4}, {}),
        (weights, {"classes": 4}, {}),
        (averages, {"classes": 4}, {}),
        (network(0.25), {"classes": 4}, {}),
        (nn.Sequential(network()), {"classes": 4}, {}),
        (network(), {"classes": 5}, {}),
        (network(), {"classes": 4}, {"embedding": True}),
    ]
    names = [exports.traced(*call[:2], **call[2]).producer_name for call in calls]
    assert names == [str(number) for number in range(len(calls))]

    source = tmp_path / "code.py"
    monkeypatch.setattr(exports, "_sources", lambda network: {source})
    for text in ("a = 1", "a = 2"):
        source.write_text(text)
        exports.traced(network(), {"classes": 4})
    monkeypatch.setattr(exports, "_versions", lambda: [("torch", "0")])
    exports.traced(network(), {"classes": 4})
    assert len(made) == len(calls) + 3


def test_the_code_of_a_network_of_a_test_counts():
    class Own(nn.Module):
        pass

    assert __file__ in map(str, exports._sources(Own()))


def test_a_trace_that_failed_leaves_nothing(made, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise ValueError("no trace")

    with monkeypatch.context() as patch:
        patch.setattr(exports, "_to_onnx", fails)
        with pytest.raises(ValueError, match="no trace"):
            exports.traced(network(), {})
    assert not list(tmp_path.rglob("*.onnx"))
    assert exports.traced(network(), {}).producer_name == "0"
