"""The confusion matrix of exclusive classes, in exact integers."""

import jax
import jax.numpy as jnp
import numpy as np


def count(pred: jax.Array, label: jax.Array, num_classes: int) -> jax.Array:
  """Counts the pixels of each pair of a true and a predicted class.

  Args:
    pred: integers [B, ...] in [0, K).
    label: integers [B, ...]; a pixel counts if its label is in [0, K).
    num_classes: K.

  Returns:
    int32[B, K, K]; [b, i, j] counts the pixels of image b whose class is i and
    that are predicted as j.
  """
  num_cells = num_classes**2
  cell = label.astype(jnp.int32) * num_classes + pred.astype(jnp.int32)
  is_valid = (label >= 0) & (label < num_classes)
  # bincount drops what lies beyond its length.
  cell = jnp.where(is_valid, cell, num_cells).reshape(len(pred), -1)
  counts = jax.vmap(lambda x: jnp.bincount(x, length=num_cells))(cell)
  return counts.reshape(-1, num_classes, num_classes)


def to_counts(matrix: np.ndarray) -> np.ndarray:
  """Counts tp, fp, fn, tn of each class: int64[..., K, K] -> [..., K, 4]."""
  tp = np.diagonal(matrix, axis1=-2, axis2=-1)
  fp, fn = matrix.sum(axis=-2) - tp, matrix.sum(axis=-1) - tp
  tn = matrix.sum(axis=(-2, -1))[..., None] - tp - fp - fn
  return np.stack([tp, fp, fn, tn], axis=-1)
