"""Masks over images."""

import numpy as np
import scipy.ndimage

from unet_jax.evaluation import pictures

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)


def square(low, high):
  plane = np.zeros((12, 10), bool)
  plane[low:high, low:high] = True
  return plane


def test_border_is_what_erosion_takes_away():
  rng = np.random.default_rng(0)
  plane = scipy.ndimage.gaussian_filter(rng.random((30, 30)), 2) > 0.5
  expected = plane & ~scipy.ndimage.binary_erosion(plane)
  assert expected.any()
  np.testing.assert_array_equal(pictures.border(plane), expected)


def test_overlay_colors_the_foreground_alone():
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


def test_panel_is_image_truth_and_prediction():
  true, pred = square(2, 6)[..., None], square(4, 9)[..., None]
  void = np.zeros_like(true[..., 0])
  void[-1] = True
  image, truth, shown = (
    pictures.panel(IMAGE, true, void, pred)[:, i : i + 10] for i in (0, 18, 36)
  )
  np.testing.assert_array_equal(image, IMAGE)
  np.testing.assert_array_equal(truth[:-1], pictures.overlay(IMAGE, true)[:-1])
  assert (truth[-1] == 128).all()
  np.testing.assert_array_equal(shown, pictures.overlay(IMAGE, pred))
  assert pictures.panel(IMAGE, true, void, pred).shape == (12, 46, 3)
