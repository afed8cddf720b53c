"""Random changes, against NumPy and SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from unet_jax.data import labels
from unet_jax.nn import augment

SIDE = 16
NOTHING = dict(
  flip=False,
  turn=False,
  rotate=0.0,
  zoom=0.0,
  shift=0.0,
  brightness=0.0,
  contrast=0.0,
)
GEOMETRY = ('flip', 'turn', 'rotate', 'zoom', 'shift')
WARP = dict(flip=True, turn=True, rotate=25.0, zoom=0.3, shift=0.2)

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
LABEL = rng.choice(np.array([0, 1, 2, 255], np.uint8), (SIDE, SIDE))
PLANES = rng.integers(0, 2, (SIDE, SIDE, 2), np.uint8)


@functools.cache
def compiled(function, **settings):
  return jax.jit(functools.partial(function, **settings))


def run(seed, image=IMAGE, label=LABEL, **settings):
  change = compiled(augment.augment, **NOTHING | settings)
  changed = change(jax.random.key(seed), image, label)
  return tuple(map(np.asarray, changed))


def drawn(seed, **settings):
  """Returns rows and columns that `run` reads from, float[S, S] each."""
  settings = {name: (NOTHING | settings)[name] for name in GEOMETRY}
  rng_map, _ = jax.random.split(jax.random.key(seed))
  draw = compiled(augment.draw_map, **settings)
  matrix, offset = map(np.asarray, draw(rng_map))
  center = (SIDE - 1) / 2
  place = np.mgrid[:SIDE, :SIDE].reshape(2, -1) - center
  place = matrix.astype(float) @ place + center + SIDE * offset[:, None]
  return place.reshape(2, SIDE, SIDE), matrix


def test_nothing_to_draw_changes_nothing():
  for label in (LABEL, PLANES):
    image, changed = run(0, label=label)
    assert (image.dtype, changed.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(changed, label)


def test_flips_and_turns_move_pixels_exactly_as_numpy_does():
  seen = set()
  for seed in range(40):
    _, matrix = drawn(seed, flip=True, turn=True)
    expected = {
      tuple(augmented.ravel().tolist()): (flip, quarters)
      for flip in (False, True)
      for quarters in range(4)
      for augmented in [np.rot90(LABEL[::-1] if flip else LABEL, quarters)]
    }
    image, label = run(seed, flip=True, turn=True)
    flip, quarters = expected[tuple(label.ravel().tolist())]
    turned = np.rot90(IMAGE[::-1] if flip else IMAGE, quarters)
    np.testing.assert_array_equal(image, turned)
    assert round(np.linalg.det(matrix)) == (-1 if flip else 1)
    seen.add((flip, quarters))
  assert len(seen) == 8


@pytest.mark.parametrize('seed', range(6))
def test_image_is_scipys_linear_interpolation(seed):
  image, _ = run(seed, **WARP)
  place, _ = drawn(seed, **WARP)
  expected = [
    scipy.ndimage.map_coordinates(
      IMAGE[..., i].astype(float), place, order=1, mode='nearest'
    )
    for i in range(3)
  ]
  np.testing.assert_allclose(
    image, np.stack(expected, axis=-1), atol=255 * 1e-4
  )


@pytest.mark.parametrize('label', [LABEL, PLANES], ids=['index', 'planes'])
@pytest.mark.parametrize('seed', range(4))
def test_label_is_the_nearest_pixel_and_void_outside(seed, label):
  _, changed = run(seed, label=label, **WARP)
  place, _ = drawn(seed, **WARP)
  nearest = np.rint(place).astype(int)
  inside = ((nearest >= 0) & (nearest < SIDE)).all(axis=0)
  expected = np.full_like(label, labels.VOID)
  expected[inside] = label[tuple(nearest[:, inside])]
  # Rounding decides at the very border of two pixels.
  is_sure = (np.abs(place % 1 - 0.5) > 1e-4).all(axis=0)
  assert is_sure.mean() > 0.99
  assert (~inside).any()
  np.testing.assert_array_equal(changed[is_sure], expected[is_sure])


def test_no_label_is_invented():
  label = np.where(LABEL == 1, np.uint8(200), np.uint8(3))
  for seed in range(10):
    _, changed = run(seed, label=label, **WARP)
    assert set(np.unique(changed)) <= {3, 200, labels.VOID}


def test_image_and_label_move_together():
  """A label that is a threshold of a smooth image stays one, inside."""
  y, x = np.mgrid[:64, :64] / 63
  image = np.uint8(255 * (0.5 + 0.25 * np.sin(5 * y) + 0.25 * np.cos(4 * x)))
  label = (image > 128).astype(np.uint8)
  for seed in range(5):
    moved, changed = run(seed, image[..., None], label, **WARP)
    counts = changed != labels.VOID
    agree = (moved[..., 0] > 128) == changed
    assert counts.mean() > 0.5
    assert agree[counts].mean() > 0.97


def test_same_key_draws_the_same_and_others_do_not():
  settings = WARP | dict(brightness=0.2, contrast=0.2)
  for one, other in zip(run(3, **settings), run(3, **settings), strict=True):
    np.testing.assert_array_equal(one, other)
  assert not np.array_equal(run(3, **settings)[0], run(4, **settings)[0])


def test_example_is_changed_alike_in_any_batch():
  settings = NOTHING | WARP | dict(brightness=0.2, contrast=0.2)
  keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))

  def batch(index):
    images = jnp.stack([jnp.asarray(IMAGE)] * len(index))
    label = jnp.stack([jnp.asarray(LABEL)] * len(index))
    change = jax.vmap(functools.partial(augment.augment, **settings))
    return jax.jit(change)(keys(jnp.array(index)), images, label)

  whole, part = batch([5, 6, 7, 8]), batch([8, 6])
  for one, other in zip(whole, part, strict=True):
    np.testing.assert_array_equal(np.asarray(one)[[3, 1]], other)
  assert not np.array_equal(whole[0][0], whole[0][1])


def test_angle_zoom_and_shift_stay_in_their_ranges_and_fill_them():
  draw = functools.partial(
    augment.draw_map, flip=False, turn=False, rotate=30.0, zoom=0.2, shift=0.1
  )
  matrix, offset = jax.jit(jax.vmap(draw))(
    jax.random.split(jax.random.key(0), 500)
  )
  matrix = np.asarray(matrix, float)
  angle = np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
  scale = 1 / np.sqrt(np.linalg.det(matrix))
  for value, low, high in (
    (angle, -30, 30),
    (scale, 0.8, 1.2),
    (offset[:, 0], -0.1, 0.1),
    (offset[:, 1], -0.1, 0.1),
  ):
    margin = 0.02 * (high - low)
    assert low - 1e-4 <= value.min() < low + margin
    assert high - margin < value.max() <= high + 1e-4
    assert abs(value.mean() - (low + high) / 2) < 3 * margin


def test_brightness_and_contrast_are_linear_about_the_mean():
  image = jnp.asarray(100 + IMAGE[..., :1] / 5.0, jnp.float32)
  for seed in range(5):
    rng = jax.random.key(seed)
    changed = augment.change_color(rng, image, 0.2, 0.5)
    gain, bias = jax.random.uniform(rng, (2,), minval=-1.0)
    expected = image.mean() + (image - image.mean()) * (1 + 0.5 * gain)
    np.testing.assert_allclose(
      changed, np.clip(expected + 255 * 0.2 * bias, 0, 255), atol=1e-3
    )


def test_color_stays_in_range():
  for seed in range(20):
    image, _ = run(seed, brightness=1.0, contrast=1.0)
    assert image.min() >= 0
    assert image.max() <= 255
