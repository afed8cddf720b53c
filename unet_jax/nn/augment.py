"""Augmentation of an image and its label: one coordinate map, one gather."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data import codes
from unet_jax.nn import resample

# By default accelerators multiply in a lower precision than coordinates need.
_matmul = functools.partial(jnp.matmul, precision='highest')


class Ranges(NamedTuple):
  """How far each change may go; 0 leaves it out of the compiled step.

  Names and units are those of Keras' ImageDataGenerator where Keras has the
  change. As in Keras, the map from output to input coordinates flips first,
  then zooms, shears, shifts and rotates.
  """

  horizontal_flip: bool = False  # Mirrors left and right, with probability 1/2.
  vertical_flip: bool = False
  quarter_turns: bool = False  # Rotates by 0 to 3 of them, equally likely.
  rotation_range: float = 0.0  # Degrees, in both directions.
  width_shift_range: float = 0.0  # Share of the side, in both directions.
  height_shift_range: float = 0.0
  shear_range: float = 0.0  # Degrees, in both directions.
  # Scale of the sampled region, drawn for each axis; below 1 magnifies.
  zoom_range: tuple[float, float] = (1.0, 1.0)
  elastic: float = 0.0  # Largest displacement along each axis, pixels.
  brightness: float = 0.0  # Share of the value range, added or subtracted.
  contrast: float = 0.0  # Share by which distances from the mean change.
  gamma: float = 0.0  # The exponent lies in [1 / (1 + gamma), 1 + gamma].
  color: float = 0.0  # Share by which each channel's gain differs from 1.
  blur: float = 0.0  # Largest standard deviation, pixels.
  noise: float = 0.0  # Largest standard deviation, share of the value range.


class Draws(NamedTuple):
  """The random numbers of one example, float32 in [-1, 1)."""

  affine: jax.Array  # [9], for `make_affine`.
  elastic: jax.Array  # [2, P, P], displacements of the P x P control points.
  color: jax.Array  # [3 + C], for `change_color`.
  noise: jax.Array  # [2], strengths of blur and noise.


def sample_rngs(rng: jax.Array, index: jax.Array) -> jax.Array:
  """Returns key[B] from the samples' positions in the stream, int32[B]."""
  return jax.vmap(jax.random.fold_in, (None, 0))(rng, index)


def augment(
  rng: jax.Array,
  image: jax.Array,
  label: jax.Array,
  *weight_map: jax.Array,
  size: int,
  ranges: Ranges,
  limits: tuple[float, float] = codes.BYTES,
  soft: bool = False,
) -> tuple[jax.Array, ...]:
  """Augments one example; use `vmap`, with one key per example.

  Args:
    rng: the sample's key.
    image: [W, W, C] of any type, W from `window_size`.
    label: uint8[W, W], or planes uint8[W, W, K].
    *weight_map: float32[W, W], the weight of each pixel; optional.
    size: S, side of the result, a crop about the window's centre.
    ranges: how far each change may go.
    limits: black and white.
    soft: whether planes hold probabilities. They are then read at the nearest
      pixel, which keeps their values.

  Returns:
    The image float32[S, S, C] within the limits; the label [S, S] or [S, S, K],
    void outside the window; and the weight map [S, S] if there is one.
  """
  if ranges.noise:
    rng, rng_noise = jax.random.split(rng)
  draws = draw(rng, image.shape[-1])
  if changes_geometry(ranges) or image.shape[0] != size:
    matrix, shift = make_affine(draws.affine, size, ranges)
    elastic = ranges.elastic * draws.elastic if ranges.elastic else None
    rows, cols = resample.map_coordinates(
      matrix, shift, elastic, size, image.shape[0]
    )
    image = resample.linear(image, rows, cols)
    sample = resample.nearest if soft or label.ndim == 2 else resample.majority
    label = sample(label, rows, cols)
    weight_map = tuple(
      resample.linear(x[..., None], rows, cols)[..., 0] for x in weight_map
    )
  image = image.astype(jnp.float32)
  if ranges.blur:
    sigma = ranges.blur * jnp.abs(draws.noise[0])
    image = blur(image, sigma, radius=math.ceil(3 * ranges.blur))
  image = change_color(draws.color, image, ranges, limits)
  if ranges.noise:
    span = limits[1] - limits[0]
    deviation = span * ranges.noise * jnp.abs(draws.noise[1])
    noise = deviation * jax.random.normal(rng_noise, image.shape)
    image = jnp.clip(image + noise, *limits)
  return image, label, *weight_map


def draw(rng: jax.Array, channels: int) -> Draws:
  """Draws an example's random numbers, whichever changes are left out.

  All come from one call, since XLA:CPU takes a second to compile each.
  """
  points = resample.POINTS
  sizes = (9, 2 * points**2, 3 + channels, 2)
  draws = jax.random.uniform(rng, (sum(sizes),), minval=-1.0)
  affine, elastic, color, noise = jnp.split(draws, np.cumsum(sizes)[:-1])
  return Draws(affine, elastic.reshape(2, points, points), color, noise)


def changes_geometry(ranges: Ranges) -> bool:
  """Returns whether any pixel may move."""
  identity = Ranges()
  geometry = Ranges._fields[: Ranges._fields.index('brightness')]
  return any(getattr(ranges, x) != getattr(identity, x) for x in geometry)


def make_affine(
  draws: jax.Array, size: int, ranges: Ranges
) -> tuple[jax.Array, jax.Array]:
  """Makes the affine map from output to input coordinates.

  Both are (row, column) in pixels from the image's centre.

  Args:
    draws: float32[9] in [-1, 1): two flips, quarter turn, two zooms, shear, two
      shifts and rotation, rows before columns.
    size: S, side of the output; shifts are shares of it.
    ranges: how far each change may go.

  Returns:
    A matrix float32[2, 2] and a shift float32[2]: input = matrix @ output +
    shift.
  """
  matrix = jnp.eye(2)
  flips = np.array([ranges.vertical_flip, ranges.horizontal_flip])
  if flips.any():
    matrix = jnp.diag(jnp.where(flips & (draws[:2] < 0), -1.0, 1.0))
  if ranges.quarter_turns:
    quarters = jnp.floor(2 * draws[2] + 2).astype(jnp.int32)
    cos, sin = jnp.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])[quarters]
    matrix = _matmul(jnp.array([[cos, sin], [-sin, cos]]), matrix)
  low, high = ranges.zoom_range
  if not low == high == 1:
    zoom = low + (high - low) * (draws[3:5] + 1) / 2
    matrix = _matmul(jnp.diag(zoom), matrix)
  if ranges.shear_range:
    angle = jnp.deg2rad(ranges.shear_range * draws[5])
    shear = jnp.array([[jnp.cos(angle), 0.0], [-jnp.sin(angle), 1.0]])
    matrix = _matmul(shear, matrix)
  largest = np.array([ranges.height_shift_range, ranges.width_shift_range])
  shift = draws[6:8] * (size * largest.astype(np.float32))
  if ranges.rotation_range:
    angle = jnp.deg2rad(ranges.rotation_range * draws[8])
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.array([[cos, sin], [-sin, cos]])
    matrix, shift = _matmul(rotation, matrix), _matmul(rotation, shift)
  return matrix, shift


def window_size(size: int, ranges: Ranges) -> int:
  """Returns the side of a window that holds every pixel the map may read.

  A crop from such a window is void only outside the image, not at the corners
  that a rotation brings in.
  """
  degree = np.pi / 180
  angle = degree * ranges.rotation_range * np.linspace(0, 1, 181)
  sheared = angle[:, None] + degree * ranges.shear_range * np.linspace(
    -1, 1, 61
  )
  angle = angle[:, None]
  # Sums of absolute values over each row of rotation @ shear.
  reach = np.maximum(
    np.abs(np.cos(sheared)) + np.abs(np.sin(angle)),
    np.abs(np.sin(sheared)) + np.abs(np.cos(angle)),
  )
  shift = size * math.hypot(ranges.height_shift_range, ranges.width_shift_range)
  half = (size - 1) / 2
  farthest = half * ranges.zoom_range[1] * reach.max() + shift + ranges.elastic
  return size + 2 * max(0, math.ceil(farthest - half))


def blur(image: jax.Array, sigma: jax.Array, radius: int) -> jax.Array:
  """Blurs float32[H, W, C] by a Gaussian truncated at `radius` pixels.

  The standard deviation `sigma` is in pixels; outside, edges are replicated.
  """
  steps = jnp.arange(-radius, radius + 1)
  taps = jnp.exp(-0.5 * (steps / jnp.maximum(sigma, 1e-3)) ** 2)
  taps = taps / jnp.sum(taps)
  for axis in (0, 1):
    padding = [(radius * (i == axis),) * 2 for i in range(3)]
    padded = jnp.pad(image, padding, mode='edge')
    size = image.shape[axis]
    image = sum(
      (
        tap * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
        for i, tap in enumerate(taps)
      ),
      start=jnp.zeros_like(image),
    )
  return image


def change_color(
  draws: jax.Array,
  image: jax.Array,
  ranges: Ranges,
  limits: tuple[float, float] = codes.BYTES,
) -> jax.Array:
  """Changes gains, contrast, brightness and gamma, in this order, and clips.

  Args:
    draws: float32[3 + C] in [-1, 1): brightness, contrast, gamma, and the gain
      of each channel.
    image: float32[H, W, C] within the limits.
    ranges: how far each change may go.
    limits: black and white. Gains and gamma leave black as it is.

  Returns:
    float32[H, W, C] within the limits.
  """
  low, high = limits
  span = high - low
  if low:
    image = image - low
  if ranges.color:
    gain = 1 + ranges.color * draws[3:]
    image = image * gain.reshape(1, 1, -1)
  if ranges.contrast:
    mean = jnp.mean(image)
    image = image + (image - mean) * (ranges.contrast * draws[1])
  if ranges.brightness:
    image = image + span * ranges.brightness * draws[0]
  if ranges.gamma:
    exponent = (1 + ranges.gamma) ** draws[2]
    image = span * (jnp.clip(image, 0, span) / span) ** exponent
  image = jnp.clip(image, 0, span)
  return image + low if low else image
