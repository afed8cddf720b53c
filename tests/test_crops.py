"""Places of crops: within the image, about the drawn pixel, as stated."""

import itertools

import numpy as np
import pytest

from unet_jax.data import crops, labels

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 256, (30, 40, 3), np.uint8)
LABEL = rng.choice(np.array([0, 1, 3, 255], np.uint8), (30, 40))
PLANES = np.where(
  LABEL[..., None] == 255, np.uint8(255), rng.integers(0, 2, (30, 40, 2))
).astype(np.uint8)


def test_places_of_an_index_are_pixels_of_their_class_and_never_void():
  places_of = crops.find_places(labels.to_planes(LABEL, 3))
  assert set(places_of) == {0, 2}
  for k, places in places_of.items():
    assert places.dtype == np.int32
    assert len(set(places.tolist())) == len(places) == crops.MAX_PLACES
    assert (LABEL.ravel()[places] == k + 1).all()


def test_places_of_planes_are_pixels_of_their_plane_and_never_void():
  places_of = crops.find_places(labels.to_planes(PLANES, 2))
  assert set(places_of) == {0, 1}
  for k, places in places_of.items():
    assert (PLANES.reshape(-1, 2)[places, k] == 1).all()


def test_all_places_of_a_small_class_are_known():
  label = np.zeros((9, 9), np.uint8)
  label[2, 3] = label[4, 7] = 2
  places_of = crops.find_places(labels.to_planes(label, 2))
  assert {k: places.tolist() for k, places in places_of.items()} == {
    1: [21, 43]
  }
  assert crops.find_places(np.zeros((9, 9, 2), bool)) == {}


def test_places_are_spread_over_the_class():
  label = np.zeros((100, 100), np.uint8)
  label[20:] = 1
  places = crops.find_places(labels.to_planes(label, 2))[0]
  assert len(places) == crops.MAX_PLACES
  assert (places.min(), places.max()) == (2000, 9999)
  assert np.diff(places).max() <= 2 * 8000 / crops.MAX_PLACES


def test_table_has_the_images_of_each_class():
  one, other = np.array([1, 2]), np.array([3])
  images = [{1: one}, {}, {0: other, 1: other}]
  table = crops.make_table(images, num_classes=3)
  assert [[i for i, _ in images] for images in table] == [[2], [0, 2], []]
  assert table[1][0][1] is one


def test_class_then_image_then_pixel_are_drawn_evenly():
  table = (
    ((0, np.arange(100)), (4, np.arange(1000, 1001))),
    (),
    ((2, np.arange(5000, 5003)),),
  )
  rng = np.random.default_rng(0)
  drawn = [crops.draw_place(rng, table) for _ in range(6000)]
  images = [image for image, _ in drawn]
  # Five standard deviations of a share of 6000 are at most 194.
  for image, expected in ((0, 1500), (4, 1500), (2, 3000)):
    assert abs(images.count(image) - expected) < 194
  pixels = np.bincount([place - 5000 for image, place in drawn if image == 2])
  assert np.abs(pixels - 1000).max() < 130
  assert {place for image, place in drawn if image == 0} == set(range(100))


@pytest.mark.parametrize('share', [0.0, 0.1, 1 / 3, 0.5, 0.75, 1.0])
def test_share_holds_in_any_stretch_of_samples(share):
  chosen = [crops.is_foreground(i, share) for i in range(1000)]
  for first, length in itertools.product((0, 7, 500), (1, 8, 33, 400)):
    assert abs(sum(chosen[first : first + length]) - share * length) <= 1


@pytest.mark.parametrize('size', [1, 2, 8, 30, 64])
def test_crop_contains_its_pixel_and_stays_in_the_image(size):
  rng = np.random.default_rng(0)
  shape = LABEL.shape
  for place in rng.integers(0, 30 * 40, 200):
    corner = crops.about(rng, place, shape, size)
    at = np.unravel_index(place, shape)
    for low, pixel, side in zip(corner, at, shape, strict=True):
      assert 0 <= low <= max(side - size, 0)
      assert low <= pixel < low + max(size, 1)


def test_pixel_is_anywhere_in_the_middle_half_of_its_crop():
  rng = np.random.default_rng(0)
  place = np.ravel_multi_index((50, 60), (100, 120))
  corners = [crops.about(rng, place, (100, 120), 16) for _ in range(500)]
  before = (50, 60) - np.array(corners)
  for axis in (0, 1):
    assert set(before[:, axis]) == set(range(4, 12))


def test_crops_reach_every_corner():
  rng = np.random.default_rng(0)
  corners = {crops.anywhere(rng, (9, 10), 8) for _ in range(60)}
  assert corners == set(itertools.product(range(2), range(3)))
  assert crops.anywhere(rng, (5, 5), 8) == (0, 0)


@pytest.mark.parametrize('label', [LABEL, PLANES], ids=['index', 'planes'])
def test_a_window_is_the_image_its_replicated_edge_and_void(label):
  wide = [(20, 20), (20, 20)]
  image = np.pad(IMAGE, (*wide, (0, 0)), mode='edge')
  more = [(0, 0)] * (label.ndim - 2)
  around = np.pad(label, (*wide, *more), constant_values=labels.VOID)
  weight_map = np.arange(1.0, 1 + IMAGE[..., 0].size).reshape(IMAGE.shape[:2])
  beyond = np.pad(weight_map, wide, mode='edge')
  for top, left, side in ((3, 4, 16), (-7, 35, 12), (25, -9, 16), (-5, -6, 50)):
    window = dict(top=top, left=left, side=side)
    window_image, part = crops.cut(IMAGE, label, **window)
    *_, weights = crops.cut(IMAGE, label, weight_map, **window)
    window = (
      slice(20 + top, 20 + top + side),
      slice(20 + left, 20 + left + side),
    )
    np.testing.assert_array_equal(window_image, image[window])
    np.testing.assert_array_equal(part, around[window])
    np.testing.assert_array_equal(weights, beyond[window])
