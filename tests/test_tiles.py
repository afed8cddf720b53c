"""Windows cover an image, and blending averages what they say."""

import numpy as np
import pytest

from unet_jax.evaluation import tiles

# Sides of images, and of windows: smaller, equal, larger by 1, by half a
# window, by a window, and large.
SIDES = [1, 31, 32, 33, 48, 49, 64, 100]
WINDOW = 32


@pytest.mark.parametrize(
  ('longest', 'depth', 'side'),
  [
    (1, 2, 256),
    (256, 4, 256),
    (257, 4, 320),
    (700, 4, 704),
    (1024, 5, 1024),
    (20000, 4, 1024),
    (300, 6, 384),  # A half of 320 is no multiple of 64.
    (300, 10, 2048),
  ],
)
def test_the_window_holds_the_images_within_limits(longest, depth, side):
  assert tiles.choose(longest, depth) == side


@pytest.mark.parametrize('side', SIDES)
def test_every_pixel_is_covered_and_starts_are_half_a_window_apart(side):
  covered, starts = np.zeros(side, int), tiles.starts(side, WINDOW)
  for start in starts:
    assert start % (WINDOW // 2) == 0
    covered[start : start + WINDOW] += 1
  assert covered.min() >= 1
  assert covered.max() <= 2
  assert len(starts) == 1 or starts[-1] + WINDOW // 2 < side


def cut(image):
  """Cuts an image, and checks that each row is read once."""
  read = []

  def rows(place):
    read.extend(range(place.start, place.stop))
    return image[place]

  windows = list(tiles.cut(rows, image.shape[:2], WINDOW))
  assert read == list(range(len(image)))
  return windows


@pytest.mark.parametrize('shape', [(20, 32), (33, 20), (100, 49)])
def test_windows_are_the_image_padded_by_its_edge(shape):
  image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
  padded = np.pad(image, ((0, WINDOW), (0, WINDOW), (0, 0)), mode='edge')
  places = [
    (top, left)
    for top in tiles.starts(shape[0], WINDOW)
    for left in tiles.starts(shape[1], WINDOW)
  ]
  for (top, left), window in zip(places, cut(image), strict=True):
    expected = padded[top : top + WINDOW, left : left + WINDOW]
    np.testing.assert_array_equal(window, expected)
  assert tiles.fits(shape, WINDOW) == (len(places) == 1)


@pytest.mark.parametrize('height', SIDES)
@pytest.mark.parametrize('width', [20, 49, 100])
def test_blending_is_the_mean_with_gaussian_weights(height, width):
  rng = np.random.default_rng(0)
  image = np.zeros((height, width, 1), np.uint8)
  logits = [
    rng.normal(size=(WINDOW, WINDOW, 2)).astype(np.float32) for _ in cut(image)
  ]
  offset = np.arange(WINDOW) - (WINDOW - 1) / 2
  bell = np.exp(-(offset**2) / (2 * (WINDOW / 8) ** 2))
  bell = np.outer(bell, bell)[..., None]
  total = np.zeros((height + WINDOW, width + WINDOW, 2))
  weight, remaining = np.zeros_like(total), iter(logits)
  for top in tiles.starts(height, WINDOW):
    for left in tiles.starts(width, WINDOW):
      area = (slice(top, top + WINDOW), slice(left, left + WINDOW))
      total[area] += bell * next(remaining)
      weight[area] += bell
  expected = total[:height, :width] / weight[:height, :width]
  taken = iter([*logits, 'the next image'])
  strips = list(tiles.blend(taken, (height, width), WINDOW))
  assert next(taken) == 'the next image'
  assert all(0 < len(strip) <= WINDOW // 2 for strip in strips)
  blended = np.concatenate(strips)
  assert blended.dtype == np.float32
  np.testing.assert_allclose(blended, expected, rtol=0, atol=1e-5)


def test_blending_a_constant_gives_the_constant():
  constant = np.full((WINDOW, WINDOW, 1), 0.1, np.float32)
  count = len(cut(np.zeros((100, 70, 1), np.uint8)))
  strips = tiles.blend([constant] * count, (100, 70), WINDOW)
  assert set(np.unique(np.concatenate(list(strips)))) == {np.float32(0.1)}


def test_strips_are_regrouped_without_loss():
  rows = np.arange(40).reshape(20, 2)
  cut = [rows[:3], rows[3:4], rows[4:17], rows[17:]]
  for size, lengths in ((7, [7, 7, 6]), (5, [5] * 4), (30, [20])):
    strips = list(tiles.regroup(cut, size))
    assert [len(strip) for strip in strips] == lengths
    np.testing.assert_array_equal(np.concatenate(strips), rows)
