"""Resampling: where in a window each pixel of a crop is read, and how."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.data import codes

CELLS = 4  # Cells along a side of the elastic grid.
POINTS = CELLS + 3  # Control points: those whose cubic B-splines reach a cell.


def map_coordinates(
  matrix: jax.Array,
  shift: jax.Array,
  elastic: jax.Array | None,
  size: int,
  window: int,
) -> tuple[jax.Array, jax.Array]:
  """Returns the rows and columns of the window at which each pixel is read.

  Args:
    matrix: float32[2, 2]; see augment.make_affine.
    shift: float32[2], in pixels.
    elastic: float32[2, P, P], row and column displacements of the control
      points, in pixels; P is POINTS. None for no elastic deformation.
    size: S, side of the crop.
    window: W, side of the window that the crop is read from.

  Returns:
    float32[S, S] and float32[S, S].
  """
  y = jnp.arange(size).reshape(-1, 1) - (size - 1) / 2
  x = y.reshape(1, -1)
  # Written out, since accelerators may run a matrix product in a lower
  # precision, and coordinates would then be off by pixels.
  rows = matrix[0, 0] * y + matrix[0, 1] * x + shift[0]
  cols = matrix[1, 0] * y + matrix[1, 1] * x + shift[1]
  if elastic is not None:
    spline = jnp.asarray(spline_basis(size), jnp.float32)
    displacement = jnp.einsum(
      'sp,kpq,tq->kst', spline, elastic, spline, precision='highest'
    )
    rows, cols = rows + displacement[0], cols + displacement[1]
  center = (window - 1) / 2
  return rows + center, cols + center


def spline_basis(size: int) -> np.ndarray:
  """Returns the weights of uniform cubic B-splines, float64[size, POINTS].

  Each row sums to 1, so no pixel moves farther than the control points do.
  """
  place = CELLS * (np.arange(size) + 0.5) / size
  distance = np.abs(place[:, None] - (np.arange(POINTS) - 1))
  near = 2 / 3 - distance**2 + distance**3 / 2
  return np.where(distance < 1, near, np.maximum(2 - distance, 0) ** 3 / 6)


def linear(image: jax.Array, rows: jax.Array, cols: jax.Array) -> jax.Array:
  """Interpolates an image bilinearly, with edge replication outside.

  Args:
    image: [H, W, C].
    rows: float32[S, S], where each pixel of the result is read.
    cols: float32[S, S].

  Returns:
    float32[S, S, C].
  """
  corners, down, right = _corners(image.shape[:2], rows, cols)
  flat = image.reshape(-1, image.shape[-1])
  values = [flat[corner].astype(jnp.float32) for corner in corners]
  return _blend(values, down[..., None], right[..., None])


def nearest(label: jax.Array, rows: jax.Array, cols: jax.Array) -> jax.Array:
  """Reads a label at the nearest pixel, void outside.

  Args:
    label: uint8[H, W] or [H, W, K].
    rows: float32[S, S], where each pixel of the result is read.
    cols: float32[S, S].

  Returns:
    uint8[S, S] or [S, S, K].
  """
  height, width = label.shape[:2]
  row = jnp.floor(rows + 0.5).astype(jnp.int32)
  col = jnp.floor(cols + 0.5).astype(jnp.int32)
  inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
  place = jnp.clip(row, 0, height - 1) * width + jnp.clip(col, 0, width - 1)
  values = label.reshape(height * width, *label.shape[2:])[place]
  inside = inside.reshape(inside.shape + (1,) * (label.ndim - 2))
  return jnp.where(inside, values, jnp.uint8(codes.VOID))


def majority(planes: jax.Array, rows: jax.Array, cols: jax.Array) -> jax.Array:
  """Reads planes by a weighted vote of the four pixels around each place.

  The weights are those of bilinear interpolation; void pixels don't vote. A
  plane is 1 where at least half of the votes are for 1, and void where the
  nearest pixel is void.

  Args:
    planes: uint8[H, W, K] of 0, 1 and 255 (void).
    rows: float32[S, S], where each pixel of the result is read.
    cols: float32[S, S].

  Returns:
    uint8[S, S, K].
  """
  void = nearest(planes, rows, cols) == codes.VOID
  corners, down, right = _corners(planes.shape[:2], rows, cols)
  flat = planes.reshape(-1, planes.shape[-1])
  # A pixel votes 1 for the plane, -1 against it, and 0 if it is void.
  votes = [(flat[c] == 1) * 2.0 - (flat[c] != codes.VOID) for c in corners]
  share = _blend(votes, down[..., None], right[..., None])
  return jnp.where(void, jnp.uint8(codes.VOID), share >= 0)


def _corners(
  shape: tuple[int, ...], rows: jax.Array, cols: jax.Array
) -> tuple[list[jax.Array], jax.Array, jax.Array]:
  """Returns the four pixels around each place, and their bilinear weights.

  The pixels are indices into the flattened image, int32[S, S] each. The weights
  are those of the lower and of the right pixels, float32[S, S] each.
  """
  height, width = shape
  rows, cols = jnp.clip(rows, 0, height - 1), jnp.clip(cols, 0, width - 1)
  top = jnp.clip(jnp.floor(rows).astype(jnp.int32), 0, max(height - 2, 0))
  left = jnp.clip(jnp.floor(cols).astype(jnp.int32), 0, max(width - 2, 0))
  corner = top * width + left
  below, beside = width * (height > 1), int(width > 1)
  corners = [corner, corner + beside, corner + below, corner + below + beside]
  return corners, rows - top, cols - left


def _blend(
  values: Sequence[jax.Array], down: jax.Array, right: jax.Array
) -> jax.Array:
  """Blends four pixels [S, S, C] with the weights [S, S, 1] of `_corners`."""
  upper = values[0] * (1 - right) + values[1] * right
  lower = values[2] * (1 - right) + values[3] * right
  return upper * (1 - down) + lower * down
