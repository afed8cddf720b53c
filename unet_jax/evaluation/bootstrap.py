"""Intervals of scores, by drawing images again (Efron 1979)."""

from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 0.95
NUM_DRAWS = 2_000


def intervals(
  counts: np.ndarray,
  statistic: Callable[[np.ndarray], np.ndarray],
  groups: Sequence[str] | None = None,
  *,
  num_draws: int = NUM_DRAWS,
  seed: int = 0,
) -> np.ndarray:
  """Returns the percentile interval of a statistic of pooled counts.

  Draws as many images as there are, with replacement, and pools their counts;
  NUM_DRAWS times. The images of a group, such as those of a patient, are drawn
  together. Draws whose statistic is NaN are left out.

  Args:
    counts: [N, ...] of the images.
    statistic: counts [D, ...] of D draws, each pooled -> float64[D, ...].
    groups: the group of each image; None: each image alone.
    num_draws: D.
    seed: of the draws.

  Returns:
    float64[..., 2]: the lower and the upper bound; NaN with fewer than two
    images or groups.
  """
  draws = statistic(_draw(counts, groups, num_draws, seed))
  return _percentiles(draws, _num_groups(counts, groups))


def differences(
  counts: Sequence[np.ndarray],
  statistic: Callable[[np.ndarray], np.ndarray],
  groups: Sequence[str] | None = None,
  *,
  num_draws: int = NUM_DRAWS,
  seed: int = 0,
) -> np.ndarray:
  """Returns the interval of the second run's statistic minus the first's.

  Both runs are scored on the same draws of the same images, so what is hard for
  both cancels out.

  Args:
    counts: two arrays [N, ...] of the same images in the same order.
    statistic: see `intervals`, as all other arguments.
    groups: the group of each image.
    num_draws: number of draws.
    seed: of the draws.

  Returns:
    float64[..., 2]; see `intervals`.
  """
  first, second = (statistic(_draw(x, groups, num_draws, seed)) for x in counts)
  return _percentiles(second - first, _num_groups(counts[0], groups))


def _draw(
  counts: np.ndarray,
  groups: Sequence[str] | None,
  num_draws: int,
  seed: int,
) -> np.ndarray:
  """Pools the counts [N, ...] of the images of each draw: [D, ...]."""
  if groups is not None:
    _, member = np.unique(np.asarray(groups, str), return_inverse=True)
    pooled = np.zeros((member.max() + 1, *counts.shape[1:]), counts.dtype)
    np.add.at(pooled, member, counts)
    counts = pooled
  size = len(counts)
  drawn = np.random.default_rng(seed).integers(0, size, (num_draws, size))
  times = np.zeros((num_draws, size), counts.dtype)
  np.add.at(times, (np.arange(num_draws)[:, None], drawn), 1)
  return np.tensordot(times, counts, axes=1)


def _num_groups(counts: np.ndarray, groups: Sequence[str] | None) -> int:
  return len(counts) if groups is None else len(set(groups))


def _percentiles(draws: np.ndarray, num_groups: int) -> np.ndarray:
  """Returns the interval of float64[D, ...], without NaN: [..., 2]."""
  shape, draws = draws.shape[1:], draws.reshape(len(draws), -1)
  bounds = np.full((draws.shape[1], 2), np.nan)
  is_defined = np.isfinite(draws).any(axis=0) & (num_groups > 1)
  tails = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
  if is_defined.any():
    bounds[is_defined] = np.nanpercentile(draws[:, is_defined], tails, axis=0).T
  return bounds.reshape(*shape, 2)
