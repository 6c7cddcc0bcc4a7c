"""The CUDA kernels: against the CPU and the oracle, on streams, and what device arrays need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deal
from deal import _native
from deal.kernel import statistics as regions
from tests.helpers import devices
from tests.helpers.cases import CASES, Case
from tests.helpers.devices import BUILT, EMULATED, NO_GPU, on_device, on_gpu
from tests.kernel.test_regions import assert_columns, flatten, near_ties, oracle_of


def to_device(arguments):
    """The arguments of a case with every array on the device."""
    where = arguments["regions"]
    if isinstance(where, deal.Segments):
        where = deal.Segments(devices.to_device(where.map), where.count)
    moved = {name: devices.to_device(arguments[name]) for name in ("logits", "difficulty", "mask")}
    return arguments | moved | {"regions": where}


# Fibers are slow: on the emulated device only what is small.
SMALL = [case for case in CASES if not EMULATED or np.prod(case.size) * case.shape[1] < 100_000]
ANY = 10 if EMULATED else 1000


@on_device
@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_statistics_agree_with_the_oracle(case: Case):
    arguments = case.make()
    expected, ties = oracle_of(case), near_ties(arguments)
    found = deal.score_logits(**to_device(arguments))
    assert_columns(found.images, expected.images, ties)
    if expected.regions is not None:
        assert_columns(found.regions, expected.regions, ties)


@on_device
@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_bits_are_those_of_the_cpu(case: Case):
    arguments = case.make()
    assert flatten(deal.score_logits(**to_device(arguments))) == flatten(
        deal.score_logits(**arguments)
    )


@pytest.mark.slow
@on_device
@settings(deadline=None, max_examples=ANY)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (3, 40, 12, 14))),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    grid=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    align_corners=st.booleans(),
    masked=st.booleans(),
    kind=st.sampled_from(["none", "grid", "segments"]),
)
def test_any_shape_gives_the_bits_of_the_cpu(shape, size, grid, align_corners, masked, kind):
    arguments = Case("any", shape, size, grid, align_corners, masked, kind).make()
    assert flatten(deal.score_logits(**to_device(arguments))) == flatten(
        deal.score_logits(**arguments)
    )


@pytest.mark.slow
@on_device
@pytest.mark.parametrize("members", [2, 5])
@pytest.mark.parametrize("name", ["half pixel", "segments and mask", "most classes"])
def test_committees_have_the_bits_of_the_cpu(name, members):
    arguments = next(case for case in CASES if case.name == name).make()
    shape = (members, *arguments["logits"].shape)
    arguments["logits"] = np.random.default_rng(3).normal(size=shape).astype(np.float32) * 3
    found = deal.score_logits(**to_device(arguments))
    assert {"vote_entropy_mean", "mutual_information_mean"} <= set(found.images)
    assert flatten(found) == flatten(deal.score_logits(**arguments))


@on_gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_half_precision_and_strides_count_as_the_floats_they_are(dtype, channels_last):
    import torch

    arguments = to_device(CASES[4].make())
    half = arguments["logits"].to(getattr(torch, dtype))
    plain = flatten(deal.score_logits(**arguments | {"logits": half.float()}))
    if channels_last:
        half = half.contiguous(memory_format=torch.channels_last)
    assert flatten(deal.score_logits(**arguments | {"logits": half})) == plain


@on_device
def test_repeats_and_streams_do_not_change_a_bit():
    arguments = to_device(CASES[6].make())
    plain = flatten(deal.score_logits(**arguments))
    stream = devices.stream()
    for _ in range(5):
        assert flatten(deal.score_logits(**arguments)) == plain
        assert flatten(deal.score_logits(**arguments, stream=stream)) == plain
        assert flatten(deal.score_logits(**arguments, stream=stream.cuda_stream)) == plain


@on_gpu
def test_logits_still_being_computed_on_another_stream_are_waited_for():
    import torch

    z = torch.randn(4, 11, 90, 120, device="cuda")
    expected = flatten(deal.score_logits(z * 3, size=(360, 480)))
    producer, consumer = torch.cuda.Stream(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(producer):
        torch.cuda._sleep(50_000_000)
        late = z * 3
        found = deal.score_logits(late, size=(360, 480), stream=consumer)
    assert flatten(found) == expected


@on_gpu
def test_arrays_come_in_through_the_cuda_array_interface():
    import torch

    class Holder:
        def __init__(self, tensor):
            self.tensor = tensor
            self.__cuda_array_interface__ = tensor.__cuda_array_interface__

    z = torch.randn(2, 5, 6, 7, device="cuda")
    torch.cuda.synchronize()
    found = flatten(deal.score_logits(Holder(z), size=(12, 14)))
    assert found == flatten(deal.score_logits(z, size=(12, 14)))


@on_device
@pytest.mark.parametrize("attention", ["DIRECT", "POLYNOMIAL"])
def test_grids_and_maps_are_written_to_the_device(attention):
    case = CASES[8].make()
    logits, head = devices.to_device(case["logits"]), case["head"]
    way = getattr(_native, f"ATTENTION_{attention}")
    grid = devices.to_device(np.empty((1, 19, 37), np.float32))
    assert regions.difficulty_grid(logits, head, attention=way, out=grid) is grid
    expected = regions.difficulty_grid(case["logits"], head, attention=way)
    assert devices.to_host(grid).tobytes() == expected.tobytes()
    out = devices.to_device(np.empty((1, 20, 38), np.float32))
    assert head.difficulty_map(logits, size=(20, 38), out=out) is out
    expected = head.difficulty_map(case["logits"], size=(20, 38))
    assert devices.to_host(out).tobytes() == expected.tobytes()


@on_device
def test_nonfinite_logits_are_counted_and_leave_other_images_alone():
    arguments = Case("three images", (3, 4, 6, 7), (20, 24)).make()
    clean = deal.score_logits(**to_device(arguments))
    arguments["logits"][1, 2, 3, 4] = float("nan")
    found = deal.score_logits(**to_device(arguments))
    assert found.nonfinite.tolist() == [0, 1, 0]
    for name, value in clean.images.items():
        np.testing.assert_array_equal(found.images[name][[0, 2]], value[[0, 2]], err_msg=name)


@on_device
def test_arrays_that_do_not_fit_are_refused_by_name():
    z = devices.to_device(np.zeros((1, 3, 4, 4), np.float32))
    ids = devices.to_device(np.full((8, 8), 9, np.int32))
    strided = devices.to_device(np.full((8, 4), 9, np.int32))
    for change, message in (
        ({"mask": np.ones((8, 8), np.uint8)}, "mask lies on the host, the logits on cuda:0"),
        ({"regions": deal.Segments(ids)}, "count="),
        ({"regions": deal.Segments(ids, 9)}, "the id 9, but only 9"),
        ({"regions": deal.Segments(strided, 9)}, r"segments: shape \[8, 8\]"),
        ({"difficulty": np.zeros((1, 1, 4, 4), np.float32)}, "difficulty lies on the host"),
    ):
        with pytest.raises(deal.DealError, match=message):
            deal.score_logits(**{"logits": z, "size": (8, 8)} | change)
    head = deal.DifficultyHead(1.0, [1, 2, 3], 0.0)
    with pytest.raises(deal.DealError, match="out: device logits need"):
        head.difficulty_map(z, size=(8, 8))


# ---- without a GPU ----------------------------------------------------------------------------


class DeviceArray:
    """What an array on a device looks like; nobody reads its memory."""

    __cuda_array_interface__ = {  # noqa: RUF012
        "shape": (1, 2, 3, 4),
        "typestr": "<f4",
        "data": (4096, True),
        "version": 3,
    }


@pytest.mark.skipif(BUILT, reason="this build has the CUDA kernels")
def test_a_build_without_cuda_refuses_device_arrays():
    with pytest.raises(deal.DealError, match="CUDA device; this build scores on the CPU only"):
        deal.score_logits(DeviceArray(), size=(8, 8))
    with pytest.raises(NotImplementedError, match="this build scores on the CPU only"):
        _native.Context(cuda=0)


@pytest.mark.skipif(not BUILT, reason="this build has no CUDA kernels")
@pytest.mark.skipif(NO_GPU is None or EMULATED, reason="there is a device here")
def test_a_build_with_cuda_says_what_is_missing_where_there_is_no_gpu():
    with pytest.raises(OSError, match="install or update the NVIDIA driver"):
        _native.Context(cuda=0)
    with pytest.raises(deal.DealError, match="install or update the NVIDIA driver"):
        deal.score_logits(DeviceArray(), size=(8, 8))
    stats = deal.score_logits(np.ones((1, 2, 4, 4), np.float32), size=(8, 8))
    assert stats.images["n_pixels"].tolist() == [64]
