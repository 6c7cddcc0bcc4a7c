"""Lanes, streams and memory of engines on a device, with a network that NumPy computes."""

import contextlib
import json
import threading

import numpy as np
import pytest

from deal import _native
from deal.engines.device import DeviceArray, DeviceEngine
from deal.errors import EngineUnavailableError, ModelError
from deal.kernel.statistics import score_logits
from deal.model.spec import read_spec
from tests.helpers.devices import BUILT, on_device, on_emulation
from tests.helpers.models import MEAN, STD, metadata, save_model, scenes


def filled(values, stream):
    """A device array that is filled once the stream gets there."""
    array = DeviceArray.empty(values.shape, values.dtype, stream)
    stream.copy(array.address, values.ctypes.data, values.nbytes)
    return array


@pytest.mark.skipif(BUILT, reason="this build has CUDA")
@pytest.mark.parametrize(
    "use",
    [
        lambda: _native.device_count(),
        lambda: _native.Stream(0),
        lambda: _native.DeviceMemory(0, 8),
        lambda: _native.Event(0),
    ],
)
def test_a_build_without_cuda_says_how_to_get_one(use):
    with pytest.raises(OSError, match=r"this build of deal has no CUDA: .* DEAL_CUDA=1"):
        use()


@on_device
def test_a_device_tells_what_it_is():
    found = _native.device_properties(0)
    assert _native.device_count() >= 1
    assert found["memory"] > 0
    assert found["compute_capability"] >= (7, 5)
    assert found["driver"] >= (12, 0)
    with pytest.raises(OSError, match="invalid device"):
        _native.device_properties(99)


@on_device
def test_arrays_go_up_and_come_back_through_pinned_memory():
    stream = _native.Stream(0)
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    pinned = _native.PinnedMemory(0, values.nbytes)
    staged = np.frombuffer(pinned, np.float32).reshape(values.shape)
    staged[:] = values
    array = DeviceArray.empty(values.shape, np.float32, stream)
    stream.copy(array.address, pinned.address, array.nbytes)
    assert array.to_host().tolist() == values.tolist()
    assert array.first(1).to_host().tolist() == values[:1].tolist()
    assert (len(array), array.ndim, array.nbytes) == (2, 3, 96)


@on_device
def test_the_kernel_reads_device_arrays_on_their_stream():
    stream, other = _native.Stream(0), _native.Stream(0)
    z = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    expected = score_logits(z, size=(20, 24)).images["entropy_mean"].tolist()
    for consumer in (stream, other, None):
        found = score_logits(filled(z, stream), size=(20, 24), stream=consumer)
        assert found.images["entropy_mean"].tolist() == expected


@on_emulation
def test_a_stream_that_does_not_wait_finds_rubbish():
    producer, consumer = _native.Stream(0), _native.Stream(0)
    values = np.ones((1, 4), np.float32)
    array = filled(values, producer)
    copy = DeviceArray.empty(values.shape, np.float32, consumer)
    consumer.copy(copy.address, array.address, array.nbytes)
    assert copy.to_host().tolist() != values.tolist()
    written = _native.Event(0)
    written.record(producer)
    consumer.wait(written)
    consumer.copy(copy.address, array.address, array.nbytes)
    assert copy.to_host().tolist() == values.tolist()


@on_device
def test_a_captured_graph_does_its_work_at_each_launch():
    stream = _native.Stream(0)
    source, target = (DeviceArray.empty((4,), np.int32, stream) for _ in range(2))
    stream.begin_capture()
    stream.copy(target.address, source.address, source.nbytes)
    graph = stream.end_capture()
    for value in (1, 2):
        values = np.full(4, value, np.int32)
        stream.copy(source.address, values.ctypes.data, values.nbytes)
        graph.launch(stream)
        assert target.to_host().tolist() == values.tolist()


@on_device
def test_what_waits_is_refused_while_a_stream_is_captured():
    stream = _native.Stream(0)
    stream.begin_capture()
    with pytest.raises(OSError, match="not permitted when stream is capturing"):
        stream.synchronize()
    with contextlib.suppress(OSError):  # a GPU's capture is invalid now
        stream.end_capture()


@on_device
def test_events_measure_what_lies_between_them():
    stream = _native.Stream(0)
    begin, end = (_native.Event(0, timing=True) for _ in range(2))
    begin.record(stream)
    array = filled(np.zeros(1 << 20, np.uint8), stream)
    end.record(stream)
    end.synchronize()
    assert end.milliseconds_since(begin) >= 0
    assert array.nbytes == 1 << 20


# ---- engines ----------------------------------------------------------------------------------


def pinned(shape, dtype):
    memory = _native.PinnedMemory(0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.frombuffer(memory, dtype).reshape(shape)


def computed(images):
    """Logits [B, 5, 3, 4] of images, each by itself."""
    flat = images.reshape(len(images), -1)
    n = flat.shape[1] // 60 * 60
    return flat[:, :n].reshape(len(images), 5, 3, 4, -1).mean(axis=-1, dtype=np.float32) / 64


class NumpyEngine(DeviceEngine):
    """A network that NumPy computes when its stream gets there."""

    name = "numpy"
    bound = 0

    def _bind(self, inputs):
        self.bound += 1
        image = inputs[self.spec.input_name]
        read = pinned(image.shape, image.dtype)
        written = pinned((self.batch, 5, 3, 4), np.float32)
        logits = DeviceArray.empty(written.shape, np.float32, self.stream)
        network = self.network_stream

        def launch():
            network.copy(read.ctypes.data, image.address, image.nbytes)
            network.synchronize()
            written[:] = computed(read)
            network.copy(logits.address, written.ctypes.data, logits.nbytes)

        return {"logits": logits}, launch


class CopyEngine(DeviceEngine):
    """Gives the bytes of its images: a network that only launches and waits for nothing."""

    name = "copy"

    def _bind(self, inputs):
        image = inputs[self.spec.input_name]
        logits = DeviceArray.empty(image.shape, image.dtype, self.stream)

        def launch():
            self.network_stream.copy(logits.address, image.address, image.nbytes)

        return {"logits": logits}, launch


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("m") / "m.onnx", props=metadata())


@pytest.fixture(scope="module")
def spec(path):
    return read_spec(path)


def images_of(count, size=(24, 32), seed=0):
    return np.stack(scenes(count, size, seed))


@on_device
@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_batches_of_any_size_give_a_row_an_image(spec, count):
    engine = NumpyEngine(spec, 0, batch=4)
    images = images_of(count)
    output = engine.infer(images)
    assert output.logits.shape == (count, 5, 3, 4)
    assert output.logits.to_host().tobytes() == computed(images).tobytes()


@on_device
def test_statistics_of_device_logits_are_those_of_the_host(spec):
    engine = NumpyEngine(spec, 0, batch=4)
    for seed in range(3):
        images = images_of(3, seed=seed)
        found = score_logits(engine.infer(images).logits, size=(12, 16), stream=engine.stream)
        expected = score_logits(computed(images), size=(12, 16))
        for name, values in found.images.items():
            assert values.tobytes() == expected.images[name].tobytes(), name


@on_device
def test_a_batch_may_follow_while_the_last_is_still_read(spec):
    engine = NumpyEngine(spec, 0, batch=2)
    batches = [images_of(2, seed=seed) for seed in range(4)]
    kept = []
    for images in batches:
        logits = engine.infer(images).logits
        copy = DeviceArray.empty(logits.shape, logits.dtype, engine.stream)
        engine.stream.copy(copy.address, logits.address, logits.nbytes)
        kept.append(copy)
    for images, copy in zip(batches, kept, strict=True):
        assert copy.to_host().tobytes() == computed(images).tobytes()


@on_device
def test_images_are_not_staged_over_those_that_still_go_up(spec):
    engine = CopyEngine(spec, 0, batch=2)
    batches = [images_of(2, seed=seed) for seed in range(3)]
    kept = []
    for images in batches:
        logits = engine.infer(images).logits
        kept.append(DeviceArray.empty(logits.shape, logits.dtype, engine.stream))
        engine.stream.copy(kept[-1].address, logits.address, logits.nbytes)
    for images, copy in zip(batches, kept, strict=True):
        assert copy.to_host().tobytes() == images.tobytes()


@on_device
def test_short_batches_are_filled_with_their_first_image(spec):
    engine = CopyEngine(spec, 0, batch=3)
    engine.infer(images_of(3, seed=1))
    images = images_of(2, seed=2)
    whole = engine.infer(images).logits.seen_as((3, 24, 32, 3), np.uint8).to_host()
    assert whole.tobytes() == images[[0, 1, 0]].tobytes()


@on_device
def test_what_the_last_batches_took_is_told_once(spec):
    engine = CopyEngine(spec, 0, batch=2)
    assert engine.take_seconds() == {"staging": 0, "transfer": 0, "network": 0}
    engine.infer(images_of(5))
    told = engine.take_seconds()
    assert told["staging"] > 0
    assert min(told["transfer"], told["network"]) >= 0
    assert engine.take_seconds() == {"staging": 0, "transfer": 0, "network": 0}


@on_device
def test_lanes_share_the_network_and_not_their_memory(spec):
    first = NumpyEngine(spec, 0, batch=2)
    second = first.lane()
    assert second.stream.cuda_stream != first.stream.cuda_stream
    one, two = images_of(2, seed=1), images_of(1, seed=2)
    left, right = first.infer(one).logits, second.infer(two).logits
    assert left.to_host().tobytes() == computed(one).tobytes()
    assert right.to_host().tobytes() == computed(two).tobytes()


@on_device
def test_lanes_work_at_once_in_threads(spec):
    engine = NumpyEngine(spec, 0, batch=2)
    wrong = []

    def work(lane, seed):
        for step in range(10):
            images = images_of(2, seed=100 * seed + step)
            found = score_logits(lane.infer(images).logits, size=(6, 8), stream=lane.stream)
            expected = score_logits(computed(images), size=(6, 8))
            if found.images["entropy_mean"].tolist() != expected.images["entropy_mean"].tolist():
                wrong.append((seed, step))

    threads = [threading.Thread(target=work, args=(engine.lane(), seed)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@on_device
def test_memory_is_kept_for_the_sizes_that_came_last(spec):
    engine = NumpyEngine(spec, 0, batch=1)
    sizes = [(16, 16), (16, 20), (20, 16), (20, 20), (24, 24)]
    for size in [*sizes, *sizes[1:], sizes[0]]:
        images = images_of(1, size)
        assert engine.infer(images).logits.to_host().tobytes() == computed(images).tobytes()
    assert engine.bound == 6


@on_device
def test_normalised_planes_go_up_where_the_network_takes_them(tmp_path):
    path = save_model(tmp_path / "m.onnx", floating=True)
    car = {"classes": 5, "mean": list(MEAN), "std": list(STD)}
    (tmp_path / "m.json").write_text(json.dumps(car))
    engine = NumpyEngine(read_spec(path), 0, batch=2)
    images = images_of(2)
    planes = (images / 255 - MEAN) / STD
    expected = computed(planes.transpose(0, 3, 1, 2).astype(np.float32))
    np.testing.assert_allclose(engine.infer(images).logits.to_host(), expected, atol=1e-6)


@on_device
def test_sigmoid_outputs_come_as_two_logits_on_the_host(tmp_path):
    path = save_model(tmp_path / "m.onnx", num_classes=1)
    options = {"classes": ["other", "road"], "activation": "sigmoid"}
    engine = NumpyEngine(read_spec(path, options), 0, batch=2)
    images = images_of(1)
    logits = engine.infer(images).logits
    assert isinstance(logits, np.ndarray)
    assert not logits[:, :5].any()
    assert logits[:, 5:].tobytes() == computed(images).tobytes()


@on_device
@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            MemoryError(),
            r"cuda:0 has no memory left for batches of 2 images of 24×32 .* --batch-size",
        ),
        (OSError("copy: an illegal address"), r"device cuda:0 failed: copy: an illegal address"),
    ],
)
def test_a_device_that_fails_says_so(spec, failure, message):
    class Broken(CopyEngine):
        def _bind(self, inputs):
            raise failure

    with pytest.raises(EngineUnavailableError, match=message):
        Broken(spec, 0, batch=2).infer(images_of(2))


@on_device
def test_a_network_of_another_batch_is_refused(spec):
    class Fixed(NumpyEngine):
        def _bind(self, inputs):
            _, launch = super()._bind(inputs)
            return {"logits": DeviceArray.empty((1, 5, 3, 4), np.float32, self.stream)}, launch

    with pytest.raises(ModelError, match="gives 1 maps for a batch of 2"):
        Fixed(spec, 0, batch=2).infer(images_of(2))
