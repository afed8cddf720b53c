"""Intervals, against SciPy's bootstrap."""

import numpy as np
import pytest
from scipy import stats

from unet_jax.evaluation import bootstrap, scores

NUM_DRAWS = 500


def draw(seed, num=12):
  return np.random.default_rng(seed).integers(0, 1000, num)


def scipys(arrays, statistic, seed):
  result = stats.bootstrap(
    arrays,
    statistic,
    n_resamples=NUM_DRAWS,
    method='percentile',
    paired=len(arrays) > 1,
    vectorized=True,
    rng=np.random.default_rng(seed),
  )
  return result.confidence_interval


@pytest.mark.parametrize('seed', range(3))
def test_interval_of_a_mean_is_scipys(seed):
  x = draw(seed)
  got = bootstrap.intervals(
    x, lambda total: total / len(x), num_draws=NUM_DRAWS, seed=seed
  )
  expected = scipys((x,), np.mean, seed)
  np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_interval_of_a_difference_is_scipys_paired_one():
  x, y = draw(0), draw(1)
  got = bootstrap.differences(
    (x, y), lambda total: total / len(x), num_draws=NUM_DRAWS, seed=3
  )
  expected = scipys((x, y), lambda x, y, axis: (y - x).mean(axis=axis), 3)
  np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_equal_runs_do_not_differ():
  counts = draw(0, (9, 2, 4))
  got = bootstrap.differences(
    (counts, counts), lambda x: scores.ratios(x)['f1'], num_draws=50
  )
  np.testing.assert_array_equal(got, np.zeros((2, 2)))


def test_images_of_a_group_are_drawn_together():
  x = draw(0)
  groups = [f'patient{i // 3}' for i in range(12)]
  got = bootstrap.intervals(
    x, lambda total: total / 4, groups, num_draws=NUM_DRAWS, seed=2
  )
  expected = scipys((x.reshape(4, 3).sum(axis=1),), np.mean, 2)
  np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_scores_of_each_class_have_an_interval():
  counts = draw(0, (12, 3, 4))
  got = bootstrap.intervals(counts, lambda x: scores.ratios(x)['f1'])
  assert got.shape == (3, 2)
  f1 = scores.ratios(counts.sum(axis=0))['f1']
  assert np.all((got[:, 0] < f1) & (f1 < got[:, 1]))


def test_one_image_has_no_interval():
  counts = draw(0, (1, 3, 4))
  got = bootstrap.intervals(counts, lambda x: scores.ratios(x)['f1'])
  assert np.isnan(got).all()


def test_draws_without_a_score_are_left_out():
  counts = np.zeros((4, 4), np.int64)
  counts[0] = (6, 2, 2, 0)  # The others lack the class.
  got = bootstrap.intervals(counts, lambda x: scores.ratios(x)['f1'])
  np.testing.assert_allclose(got, [0.75, 0.75])
