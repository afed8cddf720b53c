"""Curves and thresholds, against scikit-learn, SciPy and by hand."""

import jax
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from unet_jax.evaluation import curves

SHAPE = (2, 90, 100)


def draw(seed, *, prior=0.1, gain=2.0):
  """Draws logits float32 and truth bool of SHAPE, as a fair model has them."""
  rng = np.random.default_rng(seed)
  truth = rng.random(SHAPE) < prior
  logits = rng.normal(gain * (2 * truth - 1), 1.5).astype(np.float32)
  return logits, truth


def to_histogram(logits, truth, weight=None):
  """Returns int64[2, BINS] of one class."""
  weight = np.ones(SHAPE, np.float32) if weight is None else weight
  counted = curves.histogram(
    logits[..., None], truth[..., None].astype(np.float32), weight
  )
  assert counted.dtype == np.int32
  return np.asarray(counted, np.int64)[0]


def make(outside, inside):
  """Returns int64[2, BINS] from {logit: pixels}."""
  histogram = np.zeros((2, curves.BINS), np.int64)
  for row, pixels in enumerate((outside, inside)):
    for logit, count in pixels.items():
      histogram[row, curves.BINS // 2 + int(np.floor(logit * 256 / 3))] += count
  return histogram


def test_histogram_equals_numpys():
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 12, (*SHAPE, 3)).astype(np.float32)
  truth = (rng.random((*SHAPE, 3)) < 0.3).astype(np.float32)
  weight = (rng.random(SHAPE) < 0.8).astype(np.float32)
  counted = curves.histogram(logits, truth, weight)
  edges = np.linspace(-24, 24, 4097)
  for k in range(3):
    for inside in range(2):
      chosen = (truth[..., k] == inside) & (weight > 0)
      x = np.clip(logits[..., k][chosen], -24, 24)
      expected, _ = np.histogram(x.astype(np.float64), edges)
      np.testing.assert_array_equal(counted[k, inside], expected)


def test_zero_is_an_edge_and_what_lies_beyond_is_in_the_last_bins():
  logits = np.array([0, -1e-30, 1e9, 24, -24, -np.inf], np.float32)
  counted = curves.histogram(
    logits.reshape(1, 1, 6, 1), np.zeros((1, 1, 6, 1)), np.ones((1, 1, 6))
  )
  bins = np.flatnonzero(counted[0, 0])
  np.testing.assert_array_equal(bins, [0, 2047, 2048, 4095])
  np.testing.assert_array_equal(counted[0, 0][bins], [2, 1, 1, 2])


@pytest.mark.parametrize('scale', [1, 30])
def test_softmax_logits_are_log_p_minus_log_one_minus_p(scale):
  rng = np.random.default_rng(0)
  logits = rng.normal(0, scale, (1, 5, 7, 4)).astype(np.float32)
  wide = logits.astype(np.longdouble)
  shares = np.exp(wide - wide.max(axis=-1, keepdims=True))
  rest = shares.sum(axis=-1, keepdims=True) - shares
  with np.errstate(divide='ignore'):
    expected = np.log(shares) - np.log(rest)
  got = curves.binary_logits(logits, exclusive=True)
  # A histogram ends at 24.
  got, expected = (np.clip(x, -30, 30) for x in (got, expected))
  np.testing.assert_allclose(got, expected.astype(float), atol=5e-6)


def test_logits_of_overlapping_classes_are_kept():
  logits = np.ones((1, 2, 2, 3), np.float32)
  assert curves.binary_logits(logits, exclusive=False) is logits


@pytest.mark.parametrize(('prior', 'gain'), [(0.1, 2.0), (0.01, 1.0), (0.5, 9)])
def test_areas_are_those_of_scikit_learn_on_the_exact_logits(prior, gain):
  logits, truth = draw(1, prior=prior, gain=gain)
  histogram = to_histogram(logits, truth)
  exact = metrics.average_precision_score(truth.ravel(), logits.ravel())
  assert curves.average_precision(histogram) == pytest.approx(exact, abs=1e-3)
  exact = metrics.roc_auc_score(truth.ravel(), logits.ravel())
  assert curves.auroc(histogram) == pytest.approx(exact, abs=1e-4)


def test_curves_are_those_of_scikit_learn_on_the_bins():
  logits, truth = draw(2)
  histogram = to_histogram(logits, truth)
  bins, truth = np.floor(logits * 256 / 3).ravel(), truth.ravel()
  exact = metrics.average_precision_score(truth, bins)
  assert curves.average_precision(histogram) == pytest.approx(exact, rel=1e-12)
  precision, recall = curves.precision_recall(histogram)
  expected = metrics.precision_recall_curve(truth, bins)
  used = np.flatnonzero(histogram.any(axis=0)[::-1])
  # scikit-learn ascends, and adds a last point of precision 1 and recall 0.
  for got, exact in zip((precision, recall), expected, strict=False):
    np.testing.assert_allclose(got[used][::-1], exact[:-1], rtol=1e-12)
  false, true, _ = metrics.roc_curve(truth, bins, drop_intermediate=False)
  got = curves.roc(histogram)
  np.testing.assert_allclose(got[0][np.append(0, used + 1)], false, rtol=1e-12)
  np.testing.assert_allclose(got[1][np.append(0, used + 1)], true, rtol=1e-12)


def test_average_precision_by_hand():
  histogram = make({2.0: 1, -3.0: 5}, {3.0: 1, 1.0: 1})
  # Thresholds 3, 2, 1: precision 1, 1/2, 2/3 and recall 1/2, 1/2, 1.
  assert curves.average_precision(histogram) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_best_threshold_by_hand():
  histogram = make({2.0: 10, -3.0: 5}, {3.0: 10, -3.0: 6})
  threshold = curves.best_threshold(histogram)
  # Above 2 f1 is 20 / 26; above -3 it is 32 / 47; everything is 32 / 47.
  assert threshold.f1 == pytest.approx(20 / 26)
  # Each edge from the bin after 2 to that of 3 has it; the nearest 0 is taken.
  assert 2.0 < threshold.logit < 2.0 + 2 * curves.WIDTH


def test_perfect_separation_keeps_one_half():
  threshold = curves.best_threshold(make({-5.0: 9}, {5.0: 3}))
  assert threshold == (0.0, 1.0)


def test_best_threshold_scores_what_scikit_learn_says():
  logits, truth = draw(3)
  threshold = curves.best_threshold(to_histogram(logits, truth))
  f1 = metrics.f1_score(truth.ravel(), logits.ravel() >= threshold.logit)
  assert threshold.f1 == pytest.approx(f1, rel=1e-12)
  each = metrics.precision_recall_curve(truth.ravel(), logits.ravel())
  best = np.max(2 * each[0] * each[1] / np.maximum(each[0] + each[1], 1e-9))
  assert threshold.f1 == pytest.approx(best, abs=1e-3)


def test_scores_of_a_class_that_never_occurs_are_undefined():
  histogram = make({1.0: 5, -1.0: 3}, {})
  assert np.isnan(curves.average_precision(histogram))
  assert np.isnan(curves.auroc(histogram))
  assert np.isnan(curves.temperature(histogram))
  logit, f1 = curves.best_threshold(histogram)
  assert logit == 0
  assert np.isnan(f1)


def test_histogram_without_a_pixel_has_no_score():
  histogram = make({}, {})
  assert np.isnan(curves.average_precision(histogram))
  assert np.isnan(curves.auroc(histogram))
  assert np.isnan(curves.calibrate(histogram).error)


def test_calibration_is_that_of_a_loop_over_bins():
  logits, truth = draw(4)
  got = curves.calibrate(to_histogram(logits, truth))
  probs = special.expit(logits.astype(np.float64))
  error = 0
  for i in range(15):
    chosen = (probs >= i / 15) & (probs < (i + 1) / 15)
    confidence, frequency = probs[chosen].mean(), truth[chosen].mean()
    assert got.confidence[i] == pytest.approx(confidence, abs=2e-3)
    assert got.frequency[i] == pytest.approx(frequency, abs=1e-2)
    error += chosen.sum() * abs(confidence - frequency)
  assert got.error == pytest.approx(error / probs.size, abs=5e-4)
  assert got.pixels.sum() == probs.size


def test_calibration_by_hand():
  histogram = make({0.006: 3}, {0.006: 1})  # p = 1/2 in the eighth bin.
  got = curves.calibrate(histogram)
  assert got.pixels.tolist() == [0] * 7 + [4] + [0] * 7
  assert got.frequency[7] == 0.25
  assert np.isnan(got.frequency[0])
  assert got.error == pytest.approx(0.25, abs=2e-3)


@pytest.mark.parametrize('true_temperature', [0.5, 1.0, 3.0])
def test_temperature_is_the_one_that_drew_the_truth(true_temperature):
  rng = np.random.default_rng(5)
  logits = rng.normal(-1, 3, SHAPE).astype(np.float32)
  probs = special.expit(logits / true_temperature)
  histogram = to_histogram(logits, rng.random(SHAPE) < probs)
  got = curves.temperature(histogram)
  assert got == pytest.approx(true_temperature, rel=0.08)


def test_histogram_compiles():
  logits, truth = draw(6)
  compiled = jax.jit(curves.histogram)(
    logits[..., None], truth[..., None].astype(np.float32), np.ones(SHAPE)
  )
  np.testing.assert_array_equal(compiled[0], to_histogram(logits, truth))
