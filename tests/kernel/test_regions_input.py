"""What the kernel takes: strides, dtypes, masks, other processes, and what it refuses."""

from __future__ import annotations

import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest

import deal
from deal.kernel import statistics as regions
from tests.helpers.cases import CASES, Case, assert_columns, flatten, near_ties, oracle, segment_map

# ---- arrays -----------------------------------------------------------------------------------


ATTRIBUTES = {
    "gamma": 1.0,
    "weight": (1.0, 2.0, 3.0),
    "bias": 0.0,
    "grid": None,
    "uncertainty_weight": None,
}

# The head that no door lets through: the kernel checks its own input.
HUGE_GRID = SimpleNamespace(**{**ATTRIBUTES, "grid": (2**33, 2**31)})


def strided(logits, kind):
    if kind == "channels last":
        return np.ascontiguousarray(logits.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    if kind == "flipped":
        return np.ascontiguousarray(logits[..., ::-1, ::-1])[..., ::-1, ::-1]
    if kind == "every second column":
        wide = np.full((*logits.shape[:3], logits.shape[3] * 2), np.nan, dtype=logits.dtype)
        wide[..., ::2] = logits
        return wide[..., ::2]
    if kind == "one row repeated":
        return np.broadcast_to(logits[..., :1, :], logits.shape)
    return np.asfortranarray(logits)


@pytest.mark.parametrize(
    "kind", ["channels last", "flipped", "every second column", "one row repeated", "fortran"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_strides_do_not_change_a_bit(kind, dtype):
    arguments = CASES[2].make()
    arguments["logits"] = arguments["logits"].astype(dtype)
    view = strided(arguments["logits"], kind)
    plain = flatten(deal.score_logits(**arguments | {"logits": view.copy()}))
    arguments["logits"] = view
    assert flatten(deal.score_logits(**arguments)) == plain


def test_half_precision_logits_count_as_the_floats_they_are():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=500) * 9, [0.0, -0.0, 6e-8, -6e-8, 3e-5, 65504.0]])
    half = np.resize(values, (1, 4, 10, 20)).astype(np.float16)
    found = flatten(deal.score_logits(half, size=(10, 20)))
    assert found == flatten(deal.score_logits(half.astype(np.float32), size=(10, 20)))


def test_tensors_come_in_through_dlpack():
    torch = pytest.importorskip("torch")
    z = torch.randn(2, 5, 6, 7)
    plain = flatten(deal.score_logits(z.numpy(), size=(12, 14)))
    assert flatten(deal.score_logits(z, size=(12, 14))) == plain
    brain = z.to(torch.bfloat16)
    rounded = flatten(deal.score_logits(brain.float().numpy(), size=(12, 14)))
    assert flatten(deal.score_logits(brain, size=(12, 14))) == rounded
    last = brain.contiguous(memory_format=torch.channels_last)
    assert flatten(deal.score_logits(last, size=(12, 14))) == rounded
    with pytest.raises(deal.DealError, match=r"^logits: DLPack refused .*detach\(\)$"):
        deal.score_logits(z.requires_grad_(), size=(12, 14))


class OnlyDLPack:
    """An array of a library that has DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


def test_dlpack_is_all_an_array_needs():
    logits, plain = OnlyDLPack(LOGITS), HEAD.difficulty_map(LOGITS, size=(8, 8))
    assert HEAD.difficulty_map(logits, size=(8, 8)).tobytes() == plain.tobytes()


def test_pytorch_computes_the_same_means():
    torch = pytest.importorskip("torch")
    z = torch.randn(2, 11, 23, 30) * 3
    up = torch.nn.functional.interpolate(z, (92, 120), mode="bilinear", align_corners=True)
    p = up.softmax(1)
    top = p.topk(2, dim=1).values
    found = deal.score_logits(z, size=(92, 120)).images
    entropy = -(p * p.clamp_min(1e-30).log()).sum(1).mean((1, 2))
    np.testing.assert_allclose(found["entropy_mean"], entropy, atol=1e-5)
    margin = 1 - (top[:, 0] - top[:, 1]).mean((1, 2))
    np.testing.assert_allclose(found["margin_mean"], margin, atol=1e-5)
    np.testing.assert_allclose(
        found["least_confidence_mean"], 1 - top[:, 0].mean((1, 2)), atol=1e-5
    )


def test_nonfinite_logits_are_counted_and_leave_other_images_alone():
    arguments = CASES[4].make()
    arguments["mask"] = None
    clean = deal.score_logits(**arguments)
    dirty = arguments["logits"].copy()
    dirty[1, 2, 3, 4] = np.nan
    dirty[1, 0, 0, 0] = -np.inf
    arguments["logits"] = dirty
    found = deal.score_logits(**arguments)
    assert found.nonfinite.tolist() == [0, 2, 0]
    expected = oracle(arguments)  # for the bad image: means NaN, counts 0, boxes as ever
    ties = near_ties(arguments | {"logits": np.nan_to_num(dirty)})
    assert_columns(found.images, expected.images, ties)
    assert_columns(found.regions, expected.regions, ties)
    for name, value in clean.images.items():
        np.testing.assert_array_equal(found.images[name][[0, 2]], value[[0, 2]], err_msg=name)


def test_nonfinite_difficulty_is_counted_too():
    arguments = CASES[2].make()
    arguments["difficulty"][0, 0, 1, 1] = np.inf
    assert deal.score_logits(**arguments).nonfinite.tolist() == [1, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_nonfinite_values_are_found_in_every_dtype(dtype, bad):
    torch = pytest.importorskip("torch")
    logits = torch.full((1, 2, 3, 3), torch.finfo(getattr(torch, dtype)).max)
    logits[0, 1, 2, 2] = bad
    found = deal.score_logits(logits.to(getattr(torch, dtype)), size=(3, 3))
    assert found.nonfinite.tolist() == [1]


def test_the_lowest_float_takes_a_class_out():
    logits = CASES[3].make()["logits"]
    logits[:, 3] = np.finfo(np.float32).min
    found = deal.score_logits(logits, size=(45, 61)).images
    without = deal.score_logits(np.delete(logits, 3, axis=1), size=(45, 61)).images
    for name in ("entropy_mean", "margin_mean", "least_confidence_mean"):
        np.testing.assert_allclose(found[name], without[name], atol=1e-7, err_msg=name)
    assert not found["class_pixels"][:, 3].any()


def test_neighbours_of_the_largest_floats_are_interpolated():
    logits = np.zeros((1, 3, 5, 6), np.float32)
    logits[0, 1, ::2] = np.finfo(np.float32).max
    logits[0, 1, 1::2] = np.finfo(np.float32).min
    arguments = Case("", (1, 3, 5, 6), (9, 11)).make() | {"logits": logits, "head": None}
    found = deal.score_logits(**arguments).images  # rows halfway between have three equal classes
    assert_columns(found, oracle(arguments).images, 0)


def test_of_equal_classes_the_lowest_is_predicted():
    logits = np.broadcast_to(np.array([-1, 2, 2, 2], np.float32)[:, None, None], (1, 4, 5, 9))
    found = deal.score_logits(
        logits, size=(10, 18), regions=deal.Segments(np.zeros((10, 18), "i4"))
    )
    assert found.images["class_pixels"].tolist() == [[0, 180, 0, 0]]
    assert found.regions["majority_class"].tolist() == [[1]]


def test_a_long_run_of_the_most_uncertain_pixels_does_not_overflow():
    logits = np.zeros((1, 256, 1, 1), np.float32)
    found = deal.score_logits(logits, size=(2, 999), regions=deal.Grid(999))
    for table in (found.images, found.regions):
        np.testing.assert_allclose(table["entropy_mean"], np.log(256), rtol=1e-6)


def test_an_image_without_unmasked_pixels_has_no_means():
    stats = deal.score_logits(
        np.zeros((1, 3, 4, 4), np.float32),
        size=(8, 8),
        head=deal.DifficultyHead(1.0, [1, 2, 3], 0.0),
        mask=np.zeros((8, 8), np.uint8),
        regions=deal.Grid(4),
    )
    assert stats.images["n_pixels"].tolist() == [0]
    assert np.isnan(stats.images["difficulty_mean"]).all()
    assert np.isnan(stats.images["difficulty_min"]).all()
    assert stats.regions["majority_class"].tolist() == [[-1] * 4]
    assert stats.regions["x1"].tolist() == [[4, 8, 4, 8]]


def test_one_mask_and_one_segment_map_serve_every_image():
    arguments = CASES[4].make()
    mask, ids = arguments["mask"][1], arguments["regions"].map[1]
    repeated = arguments | {
        "mask": np.repeat(mask[None], 3, axis=0),
        "regions": deal.Segments(np.repeat(ids[None], 3, axis=0), 12),
    }
    shared = arguments | {"mask": mask, "regions": deal.Segments(ids, 12)}
    assert flatten(deal.score_logits(**shared)) == flatten(deal.score_logits(**repeated))


def test_equal_weights_make_the_difficulty_a_constant():
    """Also weights whose spread is below what can be divided by."""
    logits = CASES[0].make()["logits"]
    for weight in ([0.0] * 11, [2.0] * 11, [1e-42] + [0.0] * 10):
        grid = regions.difficulty_grid(logits, deal.DifficultyHead(0.5, weight, -1.0))
        np.testing.assert_allclose(grid, 1.5 * weight[1] - 1.0, atol=1e-6)


def test_a_constant_difficulty_is_level_zero_of_its_own_range():
    found = deal.score_logits(LOGITS, size=(8, 8), difficulty=np.full((2, 1, 1, 1), 0.3, "f4"))
    assert found.images["difficulty_hist_image"][:, 0].tolist() == [64, 64]
    assert found.images["difficulty_hist"].argmax(axis=1).tolist() == [137, 137]  # 240 sigmoid(.3)


def test_a_grid_is_the_segment_map_of_its_cells():
    arguments = CASES[3].make()
    ids, count = segment_map(arguments["regions"], 2, arguments["size"])
    as_grid = deal.score_logits(**arguments).regions
    arguments["regions"] = deal.Segments(np.ascontiguousarray(ids), count)
    as_segments = deal.score_logits(**arguments).regions
    for name, value in as_grid.items():
        np.testing.assert_array_equal(value, as_segments[name], err_msg=name)


def test_regions_add_up_to_the_image():
    arguments = CASES[3].make()
    stats = deal.score_logits(**arguments)
    n = stats.regions["n_pixels"]
    assert (n.sum(axis=1) == stats.images["n_pixels"]).all()
    for name in ("entropy_mean", "difficulty_weighted_margin_mean"):
        total = (stats.regions[name] * n).sum(axis=1)
        np.testing.assert_allclose(total / n.sum(axis=1), stats.images[name], rtol=1e-12)


def _score_in_child(queue):
    stats = deal.score_logits(np.ones((1, 2, 4, 4), np.float32), size=(8, 8), threads=2)
    queue.put(float(stats.images["entropy_mean"][0]))


def test_a_forked_process_scores_with_threads_of_its_own():
    deal.score_logits(np.ones((1, 2, 4, 4), np.float32), size=(8, 8), threads=2)
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    child = fork.Process(target=_score_in_child, args=(queue,))
    child.start()
    child.join(timeout=120)
    assert child.exitcode == 0
    assert queue.get() == pytest.approx(np.log(2))


# ---- errors -----------------------------------------------------------------------------------

LOGITS = np.zeros((2, 3, 4, 4), np.float32)
HEAD = deal.DifficultyHead(1.0, [1, 2, 3], 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": LOGITS[0]}, "rank 3; the shape"),
        ({"logits": LOGITS.astype(np.float64)}, "float64 values; float32, float16 or bfloat16"),
        ({"logits": LOGITS.astype(">f4")}, "byte-swapped"),
        ({"logits": [[1.0]]}, "buffer protocol or DLPack"),
        ({"logits": np.zeros((1, 257, 2, 2), np.float32)}, "257 classes; at most 256"),
        ({"logits": np.zeros((0, 3, 2, 2), np.float32)}, r"shape \[0, 3, 2, 2\]"),
        ({"logits": np.zeros(385, "u1")[1:].view("f4").reshape(2, 3, 4, 4)}, "not aligned"),
        ({"size": (0, 5)}, "raster is 0 x 5"),
        ({"size": (2**40, 2**40)}, "raster is"),
        ({"size": 8}, r"size=8: give two integers"),
        ({"size": (8.0, 8)}, "two integers"),
        ({"head": deal.DifficultyHead(1.0, [1, 2, 3], 1e16)}, "finite and at most 1e15"),
        ({"head": deal.DifficultyHead(1.0, [1, 2, -1e16], 0.0)}, "finite and at most 1e15"),
        ({"head": HUGE_GRID}, "grid is"),
        ({"head": deal.DifficultyHead(1.0, [1, 2], 0.0)}, "2 weights, the logits 3 classes"),
        ({"difficulty": np.zeros((2, 2, 4, 4), np.float32)}, "2 channels"),
        ({"difficulty": np.zeros((1, 1, 4, 4), np.float32)}, "1 images"),
        ({"mask": np.ones((8, 9), np.uint8)}, r"mask: shape \[8, 8\]"),
        ({"mask": np.ones((8, 8))}, "uint8 is needed"),
        ({"regions": deal.Segments(np.zeros((8, 7), np.int32))}, r"segments: shape \[8, 8\]"),
        ({"regions": deal.Segments(np.zeros((8, 8), np.int64))}, "int32 is needed"),
        ({"regions": deal.Segments(np.full((8, 8), 9, np.int32), 9)}, "the id 9, but only 9"),
        ({"regions": deal.Segments(np.zeros((0, 0), np.int32))}, r"segments: shape \[8, 8\]"),
        ({"regions": deal.Segments(np.zeros((8, 8), np.int32), 0)}, "count from 1"),
        ({"regions": deal.Segments(np.zeros((8, 8), np.int32), 2**62)}, "count from 1"),
        ({"threads": 0}, "give 1 to 1024"),
        ({"threads": 1025}, "give 1 to 1024"),
        ({"threads": 1.5}, "threads=1.5"),
        ({"stream": 7}, "stream"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(change, message):
    arguments = {"logits": LOGITS, "size": (8, 8), "head": HEAD} | change
    with pytest.raises(deal.DealError, match=message):
        deal.score_logits(**arguments)


def test_a_difficulty_map_needs_a_buffer_of_its_shape_and_finite_logits():
    with pytest.raises(deal.DealError, match="raster height, raster width"):
        HEAD.difficulty_map(LOGITS, size=(8, 8), out=np.empty((2, 8, 9), np.float32))
    with pytest.raises(deal.DealError, match="C-contiguous array of float32"):
        HEAD.difficulty_map(LOGITS, size=(8, 8), out=np.empty((2, 8, 8)))
    bad = LOGITS.copy()
    bad[1] = np.nan
    with pytest.raises(deal.DealError, match=r"images \[1\] have NaN"):
        HEAD.difficulty_map(bad, size=(8, 8))
    with pytest.raises(deal.DealError, match=r"images \[1\] have NaN"):
        regions.difficulty_grid(bad, HEAD)
    out = np.empty((2, 8, 8), np.float32)
    assert HEAD.difficulty_map(LOGITS, size=(8, 8), out=out) is out


@pytest.mark.parametrize("cell", [0, 2.5, 10**30])
def test_grid_cells_need_a_whole_pixel(cell):
    with pytest.raises(deal.DealError, match="whole number of at least 1"):
        deal.Grid(cell)


def test_whole_numbers_of_numpy_are_whole_numbers():
    found, expected = (
        deal.score_logits(LOGITS, size=(8, 8), regions=deal.Grid(cell), threads=threads)
        for cell, threads in ((np.int64(4), np.int32(1)), (4, 1))
    )
    assert flatten(found) == flatten(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regions": "grid:4"}, r"Grid\(cell\) or Segments\(map\) is needed, not 'grid:4'"),
        ({"head": "head.json"}, r"not 'head\.json': DifficultyHead\.load"),
        ({"head": HEAD.to_dict()}, "a DifficultyHead is needed"),
        ({"head": SimpleNamespace(uncertainty_weight=None)}, "a DifficultyHead is needed"),
        ({"head": SimpleNamespace(**{**ATTRIBUTES, "gamma": None})}, "a DifficultyHead"),
        ({"head": SimpleNamespace(**{**ATTRIBUTES, "weight": ["a"]})}, "^head: could not"),
        ({"regions": deal.Segments(None)}, "^segments: "),
        ({"regions": deal.Segments(np.full((8, 8), "a"))}, "^segments: .* int32 is needed"),
        ({"regions": deal.Segments(np.zeros((8, 8), np.int32), count=2.5)}, "count=2.5 is not a"),
        ({"align_corners": "no"}, "^align_corners='no': give True or False"),
        ({"contours": None}, "^contours=None: give True or False"),
        ({"stream": "0"}, "^stream='0': give its handle"),
    ],
)
def test_arguments_of_another_kind_are_usage_errors_in_few_words(options, words):
    with pytest.raises(deal.UsageError, match=words) as refused:
        deal.score_logits(LOGITS, size=(8, 8), **options)
    assert "\n" not in str(refused.value)


def test_region_ids_whose_tables_do_not_fit_into_memory_say_the_remedy(monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(regions._native, "statistics", full)
    sparse = deal.Segments(np.full((8, 8), 2**30, np.int32))
    with pytest.raises(deal.UsageError, match="from 0, without gaps"):
        deal.score_logits(LOGITS, size=(8, 8), regions=sparse)
    with pytest.raises(MemoryError):
        deal.score_logits(LOGITS, size=(8, 8))


@pytest.mark.parametrize("name", ["logits", "difficulty", "mask", "regions"])
def test_masked_arrays_are_refused_since_their_mask_would_not_count(name):
    given = {
        "logits": LOGITS,
        "difficulty": np.zeros((2, 1, 4, 4), np.float32),
        "mask": np.ones((8, 8), np.uint8),
        "regions": np.zeros((8, 8), np.int32),
    }
    masked = np.ma.masked_array(given[name], mask=True)
    options = {name: deal.Segments(masked) if name == "regions" else masked}
    with pytest.raises(deal.UsageError, match="a masked array, whose mask would not count"):
        deal.score_logits(**{"logits": LOGITS, "size": (8, 8), **options})


def test_a_cell_larger_than_the_raster_is_one_region():
    found = deal.score_logits(LOGITS, size=(8, 8), regions=deal.Grid(2**63 - 1)).regions
    assert found["x1"].tolist() == found["y1"].tolist() == [[8], [8]]
    assert found["n_pixels"].tolist() == [[64], [64]]
