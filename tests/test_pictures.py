"""Drawings of masks over images."""

import numpy as np
import pytest
import scipy.ndimage

from unet_jax.evaluation import pictures

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)


def square(low, high):
  plane = np.zeros((12, 10), bool)
  plane[low:high, low:high] = True
  return plane


def test_border_is_the_plane_without_its_erosion():
  rng = np.random.default_rng(0)
  plane = scipy.ndimage.gaussian_filter(rng.random((30, 30)), 2) > 0.5
  expected = plane & ~scipy.ndimage.binary_erosion(plane)
  assert expected.any()
  np.testing.assert_array_equal(pictures.border(plane), expected)


def test_overlay_colors_only_the_foreground():
  plane = square(2, 8)
  picture = pictures.overlay(IMAGE, plane[..., None])
  assert picture.dtype == np.uint8
  np.testing.assert_array_equal(picture[~plane], IMAGE[~plane])
  assert (picture[pictures.border(plane)] == pictures.COLORS[0]).all()
  inner = plane & ~pictures.border(plane)
  half = (IMAGE[inner] + pictures.COLORS[0]) / 2
  np.testing.assert_allclose(picture[inner], half, atol=0.5)


def test_overlay_of_grey_is_in_color():
  picture = pictures.overlay(IMAGE[..., :1], square(0, 0)[..., None])
  np.testing.assert_array_equal(picture, IMAGE[..., :1].repeat(3, axis=-1))


def test_panel_is_image_truth_prediction_and_errors():
  true = np.stack([square(2, 6), square(7, 8)], axis=-1)
  pred = np.stack([square(4, 8), square(2, 3)], axis=-1)
  void = np.zeros_like(true[..., 0])
  void[-1] = void[4, 5] = True
  panel = pictures.panel(IMAGE, true, void, pred)
  assert panel.shape == (12, 64, 3)
  image, truth, prediction, errors = (
    panel[:, i : i + 10] for i in (0, 18, 36, 54)
  )
  np.testing.assert_array_equal(image, IMAGE)
  expected = pictures.overlay(IMAGE, true)
  np.testing.assert_array_equal(truth[~void], expected[~void])
  assert (truth[void] == 128).all()
  np.testing.assert_array_equal(prediction, pictures.overlay(IMAGE, pred))
  false, missed, other = pictures.ERRORS
  np.testing.assert_array_equal(errors[6, 6], false)
  np.testing.assert_array_equal(errors[3, 3], missed)
  for place in ((2, 2), (7, 7)):  # Each class, predicted as the other one.
    np.testing.assert_array_equal(errors[place], other)
  for place in ((0, 0), (5, 5), (4, 5)):  # Two correct pixels and a void one.
    np.testing.assert_array_equal(errors[place], IMAGE[place])


@pytest.mark.parametrize(
  ('shape', 'factor'), [((4096, 10), 1), ((10, 4097), 2), ((20000, 9), 8)]
)
def test_the_factor_makes_the_longer_side_fit(shape, factor):
  assert pictures.factor(shape, 4096) == factor


def test_shrinking_averages_pixels_and_keeps_single_ones_of_a_mask():
  image = IMAGE[:, :9]
  small = pictures.shrink(image, 4)
  assert (small.shape, small.dtype) == ((3, 3, 3), np.uint8)
  expected = image[4:8, :4].mean(axis=(0, 1))
  np.testing.assert_allclose(small[1, 0], expected, atol=0.5)
  last = image[:4, 8:].mean(axis=(0, 1))  # Padded by replication.
  np.testing.assert_allclose(small[0, 2], last, atol=0.5)
  plane = square(5, 6)[..., None]
  assert np.argwhere(pictures.shrink(plane, 4)).tolist() == [[1, 1, 0]]


def test_a_legend_is_below_the_picture_and_has_the_colours():
  names = ['a', 'a long name of a class', 'c']
  picture = np.full((50, 60, 3), 7, np.uint8)
  whole = pictures.with_legend(picture, names)
  np.testing.assert_array_equal(whole[:50, :60], picture)
  legend = whole[50:]
  for color in pictures.COLORS[:3]:
    assert (legend == color).all(axis=-1).sum() >= 12 * 12
  assert not (legend == pictures.COLORS[3]).all(axis=-1).any()


def test_no_class_has_the_colour_of_an_error():
  classes, wrong = (
    {tuple(color) for color in colors.tolist()}
    for colors in (pictures.COLORS, pictures.ERRORS)
  )
  assert len(classes) == len(pictures.COLORS)
  assert not classes & wrong
