"""Soft skeletons, and clDice on them, against SciPy and cases by hand."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from unet_jax.nn import losses, skeleton

CROSS = ndimage.generate_binary_structure(2, 1)


def by_scipy(mask, radius):
  """Thins float[H, W] with SciPy's erosion and dilation."""
  lines = np.zeros_like(mask)
  for _ in range(radius + 1):
    # 'nearest' ignores the border: pixels outside never decide.
    eroded = ndimage.grey_erosion(mask, footprint=CROSS, mode='nearest')
    opened = ndimage.grey_dilation(eroded, size=(3, 3), mode='nearest')
    ridge = np.maximum(mask - opened, 0)
    lines = lines + np.maximum(ridge - lines * ridge, 0)
    mask = eroded
  return lines


@pytest.mark.parametrize('radius', [1, 3])
@pytest.mark.parametrize('shape', [(2, 9, 7, 2), (1, 1, 1, 1)])
def test_skeleton_is_that_of_scipys_operations(shape, radius):
  mask = np.random.default_rng(0).random(shape)
  # Smoothing makes ridges wider than a pixel.
  mask = ndimage.gaussian_filter(mask, (0, 1, 1, 0)).astype(np.float32)
  got = skeleton.soft_skeleton(mask, radius=radius)
  for b in range(shape[0]):
    for k in range(shape[3]):
      want = by_scipy(mask[b, :, :, k], radius)
      np.testing.assert_allclose(got[b, :, :, k], want, atol=1e-6)


def bar(half_width, size=15):
  """Returns a band across the image, float32[1, size, size, 1]."""
  mask = np.zeros((1, size, size, 1), np.float32)
  mask[:, size // 2 - half_width : size // 2 + half_width + 1] = 1
  return mask


@pytest.mark.parametrize('half_width', [0, 1, 3])
def test_a_bar_thins_to_its_middle_line(half_width):
  got = skeleton.soft_skeleton(bar(half_width), radius=3)
  np.testing.assert_array_equal(got, bar(0))


def test_a_bar_wider_than_the_radius_has_no_line():
  assert np.sum(skeleton.soft_skeleton(bar(5), radius=3)) == 0


@pytest.mark.parametrize('per_image', [False, True])
def test_centerline_dice_is_that_of_a_loop(per_image):
  rng = np.random.default_rng(0)
  shape = (2, 8, 8, 2)
  probs, target = (
    ndimage.gaussian_filter(rng.random(shape), (0, 1, 1, 0)) for _ in range(2)
  )
  target = (target > 0.5).astype(np.float64)
  weight = 2 * (rng.random(shape[:3]) < 0.7)
  masked = [x * (weight > 0)[..., None] for x in (probs, target)]
  lines = [np.zeros(shape), np.zeros(shape)]
  for line, mask in zip(lines, masked, strict=True):
    for b, k in np.ndindex(2, 2):
      line[b, :, :, k] = by_scipy(mask[b, :, :, k], 2)
  scores = []
  for images in [[0], [1]] if per_image else [[0, 1]]:
    for k in range(2):
      shares = []
      for line, other in ((lines[0], masked[1]), (lines[1], masked[0])):
        w, line, other = weight[images], line[images, ..., k], other[images]
        hit = np.sum(w * line * other[..., k])
        shares.append((hit + 1) / (np.sum(w * line) + 1))
      scores.append(2 * shares[0] * shares[1] / sum(shares))
  args = [np.float32(x) for x in (probs, target, weight)]
  got = losses.centerline_dice(*args, radius=2, per_image=per_image)
  np.testing.assert_allclose(got, 1 - np.mean(scores), rtol=1e-5)


def test_centerline_dice_penalises_a_gap_and_not_the_width():
  weight = np.ones((1, 15, 15), np.float32)
  target, wide, cut = bar(1), bar(2), bar(1)
  cut[:, :, 6:9] = 0

  def loss(probs):
    return losses.centerline_dice(probs, target, weight, smooth=1e-3)

  # The wide bar's line lies in the target, and the target's line in the bar.
  assert loss(wide) == pytest.approx(0, abs=1e-6)
  assert loss(cut) > 0.05
  assert losses.soft_dice(wide, target, weight) > losses.soft_dice(
    cut, target, weight
  )


def test_gradient_reaches_a_mask_that_is_nearly_certain():
  logits = 8 * (2 * bar(1) - 1)
  weight = np.ones((1, 15, 15), np.float32)
  grads = jax.grad(
    lambda x: losses.centerline_dice(jax.nn.sigmoid(x), bar(0), weight)
  )(logits)
  assert np.all(np.isfinite(grads))
  assert np.any(grads != 0)
