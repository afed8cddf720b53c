"""Random changes of an image and its label: one coordinate map, one gather."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.nn import resample

# In full precision, which is not what accelerators give unasked.
_matmul = functools.partial(jnp.matmul, precision='highest')


class Ranges(NamedTuple):
  """How far each change may go; 0 leaves it out of the compiled step.

  What Keras' ImageDataGenerator has is named and measured as there. Its map is
  a rotation after shift after shear after zoom after flips, and so is ours.
  """

  horizontal_flip: bool = False  # Mirrors left and right, every other time.
  vertical_flip: bool = False
  quarter_turns: bool = False  # By 0 to 3, each as often.
  rotation_range: float = 0.0  # Degrees to either side.
  width_shift_range: float = 0.0  # Share of the side, to either side.
  height_shift_range: float = 0.0
  shear_range: float = 0.0  # Degrees to either side.
  # Of the side that is looked at, drawn for each axis: below 1, things grow.
  zoom_range: tuple[float, float] = (1.0, 1.0)
  elastic: float = 0.0  # Pixels that a point moves at most, along each axis.
  brightness: float = 0.0  # Share of the value range, added or taken.
  contrast: float = 0.0  # Share, more or less, about the mean.
  gamma: float = 0.0  # The exponent is from 1 / (1 + gamma) to 1 + gamma.
  color: float = 0.0  # Share, more or less, of each channel.
  blur: float = 0.0  # Largest standard deviation, pixels.
  noise: float = 0.0  # Largest standard deviation, share of the value range.


class Draws(NamedTuple):
  """All that is random of one example, float32 in [-1, 1)."""

  moves: jax.Array  # [9], for `make_map`.
  bend: jax.Array  # [2, P, P], how far the P x P elastic points move.
  tones: jax.Array  # [3 + C], for `change_color`.
  grain: jax.Array  # [2], for blur and noise.


def sample_rngs(rng: jax.Array, index: jax.Array) -> jax.Array:
  """Returns key[B]: of each sample by its position, int32[B], in the stream."""
  return jax.vmap(jax.random.fold_in, (None, 0))(rng, index)


def augment(
  rng: jax.Array,
  image: jax.Array,
  label: jax.Array,
  *weight_map: jax.Array,
  size: int,
  ranges: Ranges,
  soft: bool = False,
) -> tuple[jax.Array, ...]:
  """Changes one example at random; `vmap` it with a key each.

  Args:
    rng: the sample's key.
    image: uint8[W, W, C], W as `window_size` says.
    label: uint8[W, W], or planes uint8[W, W, K].
    *weight_map: float32[W, W], how much pixels count, or nothing.
    size: S, side of the result, which is about the middle of the window.
    ranges: of the changes.
    soft: whether planes are probabilities, which keep their values.

  Returns:
    float32[S, S, C] in 0 to 255, the label, void where outside, and the map of
    weights if there is one.
  """
  if ranges.noise:
    rng, rng_noise = jax.random.split(rng)
  draws = draw(rng, image.shape[-1])
  if is_moving(ranges) or image.shape[0] != size:
    matrix, shift = make_map(draws.moves, size, ranges)
    bend = ranges.elastic * draws.bend if ranges.elastic else None
    rows, cols = resample.map_coordinates(
      matrix, shift, bend, size, image.shape[0]
    )
    image = resample.linear(image, rows, cols)
    sample = resample.nearest if soft or label.ndim == 2 else resample.majority
    label = sample(label, rows, cols)
    weight_map = tuple(
      resample.linear(x[..., None], rows, cols)[..., 0] for x in weight_map
    )
  image = image.astype(jnp.float32)
  if ranges.blur:
    sigma = ranges.blur * jnp.abs(draws.grain[0])
    image = blur(image, sigma, radius=math.ceil(3 * ranges.blur))
  image = change_color(draws.tones, image, ranges)
  if ranges.noise:
    deviation = 255 * ranges.noise * jnp.abs(draws.grain[1])
    noise = deviation * jax.random.normal(rng_noise, image.shape)
    image = jnp.clip(image + noise, 0, 255)
  return image, label, *weight_map


def draw(rng: jax.Array, channels: int) -> Draws:
  """Draws the same numbers whatever is left out, at once.

  XLA:CPU takes a second to compile each draw.
  """
  points = resample.POINTS
  sizes = (9, 2 * points**2, 3 + channels, 2)
  draws = jax.random.uniform(rng, (sum(sizes),), minval=-1.0)
  moves, bend, tones, grain = jnp.split(draws, np.cumsum(sizes)[:-1])
  return Draws(moves, bend.reshape(2, points, points), tones, grain)


def is_moving(ranges: Ranges) -> bool:
  """Tells whether any pixel may change its place."""
  still = Ranges()
  geometry = Ranges._fields[: Ranges._fields.index('brightness')]
  return any(getattr(ranges, x) != getattr(still, x) for x in geometry)


def make_map(
  moves: jax.Array, size: int, ranges: Ranges
) -> tuple[jax.Array, jax.Array]:
  """Turns numbers in [-1, 1) into what maps a place about the centre.

  Args:
    moves: float32[9]: flips, turn, zooms, shear, shifts and angle; row first.
    size: what shifts are a share of.
    ranges: of the changes.

  Returns:
    A matrix float32[2, 2] and a shift float32[2]: the matrix times an output's
    (row, column), plus the shift, in pixels, is where the input is read.
  """
  matrix = jnp.eye(2)
  wanted = np.array([ranges.vertical_flip, ranges.horizontal_flip])
  if wanted.any():
    matrix = jnp.diag(jnp.where(wanted & (moves[:2] < 0), -1.0, 1.0))
  if ranges.quarter_turns:
    quarters = jnp.floor(2 * moves[2] + 2).astype(jnp.int32)
    cos, sin = jnp.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])[quarters]
    matrix = _matmul(jnp.array([[cos, sin], [-sin, cos]]), matrix)
  low, high = ranges.zoom_range
  if not low == high == 1:
    zoom = low + (high - low) * (moves[3:5] + 1) / 2
    matrix = _matmul(jnp.diag(zoom), matrix)
  if ranges.shear_range:
    angle = jnp.deg2rad(ranges.shear_range * moves[5])
    sheared = jnp.array([[jnp.cos(angle), 0.0], [-jnp.sin(angle), 1.0]])
    matrix = _matmul(sheared, matrix)
  largest = np.array([ranges.height_shift_range, ranges.width_shift_range])
  shift = moves[6:8] * (size * largest.astype(np.float32))
  if ranges.rotation_range:
    angle = jnp.deg2rad(ranges.rotation_range * moves[8])
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.array([[cos, sin], [-sin, cos]])
    matrix, shift = _matmul(rotation, matrix), _matmul(rotation, shift)
  return matrix, shift


def window_size(size: int, ranges: Ranges) -> int:
  """Returns the side of the square that holds all that may be read.

  Then void is met only where the image ends, not at the crop's corners.
  """
  degree = np.pi / 180
  angle = degree * ranges.rotation_range * np.linspace(0, 1, 181)
  sheared = angle[:, None] + degree * ranges.shear_range * np.linspace(
    -1, 1, 61
  )
  angle = angle[:, None]
  # Sums of the rows of rotation times shear, without signs.
  reach = np.maximum(
    np.abs(np.cos(sheared)) + np.abs(np.sin(angle)),
    np.abs(np.sin(sheared)) + np.abs(np.cos(angle)),
  )
  shift = size * math.hypot(ranges.height_shift_range, ranges.width_shift_range)
  half = (size - 1) / 2
  farthest = half * ranges.zoom_range[1] * reach.max() + shift + ranges.elastic
  return size + 2 * max(0, math.ceil(farthest - half))


def blur(image: jax.Array, sigma: jax.Array, radius: int) -> jax.Array:
  """Blurs float32[H, W, C] by a Gaussian that ends at `radius` pixels."""
  steps = jnp.arange(-radius, radius + 1)
  taps = jnp.exp(-0.5 * (steps / jnp.maximum(sigma, 1e-3)) ** 2)
  taps = taps / jnp.sum(taps)
  for axis in (0, 1):
    around = [(radius * (i == axis),) * 2 for i in range(3)]
    wide = jnp.pad(image, around, mode='edge')
    size = image.shape[axis]
    image = sum(
      (
        tap * jax.lax.slice_in_dim(wide, i, i + size, axis=axis)
        for i, tap in enumerate(taps)
      ),
      start=jnp.zeros_like(image),
    )
  return image


def change_color(
  tones: jax.Array, image: jax.Array, ranges: Ranges
) -> jax.Array:
  """Changes float32[H, W, C] in 0 to 255, and keeps it there.

  Args:
    tones: float32[3 + C] in [-1, 1): brightness, contrast, gamma, and the gain
      of each channel.
    image: in 0 to 255.
    ranges: of the changes.
  """
  if ranges.color:
    gain = 1 + ranges.color * tones[3:]
    image = image * gain.reshape(1, 1, -1)
  if ranges.contrast:
    mean = jnp.mean(image)
    image = image + (image - mean) * (ranges.contrast * tones[1])
  if ranges.brightness:
    image = image + 255 * ranges.brightness * tones[0]
  if ranges.gamma:
    exponent = (1 + ranges.gamma) ** tones[2]
    image = 255 * (jnp.clip(image, 0, 255) / 255) ** exponent
  return jnp.clip(image, 0, 255)
