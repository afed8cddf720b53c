"""Scores of outlines and centre lines: by hand, and against libraries."""

import numpy as np
import pytest
from scipy import ndimage, spatial

from unet_jax.evaluation import surface

NAN = float('nan')


def square(top, left, size, shape=(40, 40)):
  mask = np.zeros(shape, bool)
  mask[top : top + size, left : left + size] = True
  return mask


def blobs(seed, shape=(60, 80), share=0.3):
  """Draws smooth random shapes."""
  noise = np.random.default_rng(seed).normal(size=shape)
  smooth = ndimage.gaussian_filter(noise, 3)
  return smooth > np.quantile(smooth, 1 - share)


def test_equal_masks_are_perfect():
  mask = blobs(0)
  assert surface.measure(mask, mask) == {
    'boundary_iou': 1,
    'hd95': 0,
    'surface_dice': 1,
    'cl_dice': 1,
  }


def test_an_empty_mask_has_no_distance_and_boundary_iou_0():
  empty, mask = np.zeros((40, 40), bool), square(5, 5, 9)
  for pair in ((empty, mask), (mask, empty)):
    scores = surface.measure(*pair)
    assert scores['boundary_iou'] == 0
    assert np.isnan([scores[x] for x in ('hd95', 'surface_dice')]).all()
    assert np.isnan(scores['cl_dice'])
  assert np.isnan([*surface.measure(empty, empty).values()]).all()


def test_boundary_iou_by_hand():
  a, b = square(10, 10, 10), square(10, 11, 10)
  # Each band has 36 pixels. The rows share 2 x 9, the columns none: the left
  # column of b lies inside of a.
  assert surface.boundary_iou(a, b, 1) == pytest.approx(18 / (36 + 36 - 18))


def test_band_reaches_along_the_border_of_the_image():
  """A full image is all outline within the distance, as in Cheng's code."""
  full = np.ones((100, 100), bool)
  hole = full.copy()
  hole[3:-3, 3:-3] = False
  # 2 % of the diagonal is 2.8: three pixels, exactly the frame of `hole`.
  assert surface.measure(full, hole)['boundary_iou'] == 1


def test_hd95_by_hand():
  a, b = square(10, 10, 12), square(10, 15, 12)
  # Of the 44 border pixels of each, the 12 of one side lie 5 apart.
  assert surface.distances(a, b)['hd95'] == 5


def test_surface_dice_by_hand():
  a, b = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
  a[5, 2:12] = b[7, 2:12] = True  # Two pixels apart is near enough,
  assert surface.distances(a, b)['surface_dice'] == 1
  a[12, 2:12] = b[15, 2:12] = True  # and three are not.
  assert surface.distances(a, b)['surface_dice'] == 0.5


def border(mask):
  return mask & ~ndimage.binary_erosion(mask)


def by_pairs(a, b):
  """Computes hd95 and surface Dice from all pairs of border pixels."""
  points = [np.argwhere(border(mask)) for mask in (a, b)]
  apart = spatial.distance.cdist(*points)
  lengths = apart.min(axis=1), apart.min(axis=0)
  near = sum((x <= 2).sum() for x in lengths)
  hd95 = max(np.percentile(x, 95) for x in lengths)
  return hd95, near / sum(map(len, lengths))


@pytest.mark.parametrize('seed', range(3))
def test_distances_are_those_of_all_pairs_of_border_pixels(seed):
  a, b = blobs(seed), blobs(seed + 10, share=0.1)
  scores = surface.distances(a, b)
  hd95, dice = by_pairs(a, b)
  assert scores['hd95'] == pytest.approx(hd95, rel=1e-12)
  assert scores['surface_dice'] == pytest.approx(dice, rel=1e-12)


def test_centerline_dice_by_hand():
  truth, pred = np.zeros((20, 40), bool), np.zeros((20, 40), bool)
  truth[10, 5:35] = True  # A line of 30 pixels, its own centre line.
  pred[10, 5:20] = True  # Half of it, and as long a line elsewhere.
  pred[3, 5:20] = True
  # Of the prediction's 30 pixels half lie in the truth, and vice versa.
  assert surface.centerline_dice(pred, truth) == pytest.approx(0.5)
  assert surface.centerline_dice(np.roll(truth, 3, axis=0), truth) == 0


def test_pixels_outside_of_both_masks_change_nothing():
  a, b = blobs(0, (40, 40)), blobs(1, (40, 40))
  wide = [np.pad(mask, ((25, 3), (0, 60))) for mask in (a, b)]
  expected = surface.measure(a, b)
  expected['boundary_iou'] = surface.boundary_iou(a, b, surface.near((68, 100)))
  assert surface.measure(*wide) == pytest.approx(expected)
