"""Fields of view, estimated."""

import numpy as np

from unet_jax.data import field_of_view
from unet_jax.data.synthetic_fundus import embedded, photograph


def disc(radius=120, size=300, center=150):
  y, x = np.mgrid[:size, :size]
  return np.hypot(y - center, x - center) < radius


def dice(a, b):
  return (
    2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
  )


def test_bright_disc_in_a_noisy_frame_is_found_with_its_dark_spots():
  rng, inside = np.random.default_rng(0), disc()
  image = np.where(inside[..., None], 120, 6) + rng.integers(
    0, 8, (300, 300, 3)
  )
  image[145:165, 120:180] = 4  # A dark lesion, or a vessel.
  view = field_of_view.estimate(image.astype(np.uint8))
  assert view.dtype == bool
  assert dice(view, inside) > 0.98
  assert view[150, 150]


def test_image_without_a_dark_corner_is_all_inside():
  image = np.random.default_rng(0).integers(80, 160, (50, 60, 1), np.uint8)
  assert field_of_view.estimate(image).all()
  assert field_of_view.estimate(np.zeros((50, 60, 3), np.uint8)).all()


def test_field_may_be_cut_off_at_its_sides():
  inside = disc(radius=180)
  image = np.where(inside[..., None], 90, 10).repeat(3, axis=-1)
  assert dice(field_of_view.estimate(image.astype(np.uint8)), inside) > 0.98


def test_field_of_drawn_photographs_holds_all_that_is_marked():
  for index in range(3):
    rng = embedded.make_rng('test', index)
    image, masks = photograph.draw_fundus(rng)
    view = field_of_view.estimate(image)
    assert 0.5 < view.mean() < 0.95
    assert not view[:8, :8].any()
    for mask in masks.values():
      assert np.count_nonzero(mask & ~view) <= 0.01 * np.count_nonzero(mask)
