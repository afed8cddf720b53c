"""Random changes of an image and its label: one coordinate map, one gather."""

import functools

import jax
import jax.numpy as jnp

from unet_jax.data import labels

# In full precision, which is not what accelerators give unasked.
_matmul = functools.partial(jnp.matmul, precision='highest')


def augment(
  rng: jax.Array,
  image: jax.Array,
  label: jax.Array,
  *,
  flip: bool,
  turn: bool,
  rotate: float,
  zoom: float,
  shift: float,
  brightness: float,
  contrast: float,
) -> tuple[jax.Array, jax.Array]:
  """Draws one change for one example; `vmap` it with a key each.

  Args:
    rng: the sample's key.
    image: uint8[S, S, C].
    label: uint8[S, S] or uint8[S, S, K].
    flip: whether to mirror, in each direction with probability 1/2.
    turn: whether to turn by 0 to 3 quarters.
    rotate: largest angle, degrees to either side.
    zoom: largest share by which it grows or shrinks.
    shift: largest share of the side, in each direction.
    brightness: largest share of the value range that is added or taken.
    contrast: largest share by which it rises or falls, about the mean.

  Returns:
    float32[S, S, C] in 0 to 255, and the label, void where outside.
  """
  rng_map, rng_color = jax.random.split(rng)
  matrix, offset = draw_map(
    rng_map, flip=flip, turn=turn, rotate=rotate, zoom=zoom, shift=shift
  )
  rows, cols = map_coordinates(matrix, offset, *image.shape[:2])
  image, label = (
    sample_linear(image, rows, cols),
    sample_nearest(label, rows, cols),
  )
  return change_color(rng_color, image, brightness, contrast), label


def draw_map(
  rng: jax.Array,
  *,
  flip: bool,
  turn: bool,
  rotate: float,
  zoom: float,
  shift: float,
) -> tuple[jax.Array, jax.Array]:
  """Draws what maps an output's place about the centre to the input's.

  Returns:
    float32[2, 2], and float32[2], a share of the side.
  """
  # One draw for all: XLA:CPU compiles each for a second.
  draws = jax.random.uniform(rng, (7,), minval=-1.0)
  matrix = jnp.eye(2)
  if flip:
    matrix = jnp.diag(jnp.where(draws[:2] < 0, -1.0, 1.0))
  if turn:
    quarters = jnp.floor(2 * draws[2] + 2).astype(jnp.int32)
    cos, sin = jnp.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])[quarters]
    matrix = _matmul(matrix, jnp.array([[cos, -sin], [sin, cos]]))
  angle = jnp.deg2rad(rotate * draws[3])
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  scale = 1 + zoom * draws[4]
  matrix = _matmul(matrix, jnp.array([[cos, -sin], [sin, cos]])) / scale
  return matrix, shift * draws[5:]


def map_coordinates(
  matrix: jax.Array, offset: jax.Array, height: int, width: int
) -> tuple[jax.Array, jax.Array]:
  """Returns rows and columns to read from, float32[H, W] each."""
  size = jnp.array([height, width], jnp.float32)
  center = (size - 1) / 2
  y, x = jnp.meshgrid(
    jnp.arange(height) - center[0], jnp.arange(width) - center[1], indexing='ij'
  )
  # Written out: a matrix product may run in a lower precision on an
  # accelerator, and coordinates would be off by pixels.
  rows = matrix[0, 0] * y + matrix[0, 1] * x + center[0] + offset[0] * size[0]
  cols = matrix[1, 0] * y + matrix[1, 1] * x + center[1] + offset[1] * size[1]
  return rows, cols


def sample_linear(
  image: jax.Array, rows: jax.Array, cols: jax.Array
) -> jax.Array:
  """Reads image[H, W, C] at fractional places, edges going on: float32."""
  height, width, channels = image.shape
  flat = image.reshape(height * width, channels)
  rows, cols = jnp.clip(rows, 0, height - 1), jnp.clip(cols, 0, width - 1)
  top = jnp.clip(jnp.floor(rows).astype(jnp.int32), 0, max(height - 2, 0))
  left = jnp.clip(jnp.floor(cols).astype(jnp.int32), 0, max(width - 2, 0))
  down, right = (rows - top)[..., None], (cols - left)[..., None]
  corner = top * width + left
  below, beside = width * (height > 1), int(width > 1)

  def read(place: jax.Array) -> jax.Array:
    return flat[place].astype(jnp.float32)

  upper = read(corner) * (1 - right) + read(corner + beside) * right
  lower = read(corner + below) * (1 - right)
  lower += read(corner + below + beside) * right
  return upper * (1 - down) + lower * down


def sample_nearest(
  label: jax.Array, rows: jax.Array, cols: jax.Array
) -> jax.Array:
  """Reads label[H, W] or [H, W, K] at the nearest pixel, void outside."""
  height, width = label.shape[:2]
  row = jnp.floor(rows + 0.5).astype(jnp.int32)
  col = jnp.floor(cols + 0.5).astype(jnp.int32)
  inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
  place = jnp.clip(row, 0, height - 1) * width + jnp.clip(col, 0, width - 1)
  found = label.reshape(height * width, *label.shape[2:])[place]
  inside = inside.reshape(inside.shape + (1,) * (label.ndim - 2))
  return jnp.where(inside, found, jnp.uint8(labels.VOID))


def change_color(
  rng: jax.Array, image: jax.Array, brightness: float, contrast: float
) -> jax.Array:
  """Changes float32[H, W, C] in 0 to 255, and keeps it there."""
  gain, bias = jax.random.uniform(rng, (2,), minval=-1.0)
  mean = jnp.mean(image)
  image = image + (image - mean) * (contrast * gain)
  return jnp.clip(image + 255 * brightness * bias, 0, 255)
