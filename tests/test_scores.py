"""The scores of a report, against scikit-learn and by hand."""

import functools
import json
import math
import warnings

import numpy as np
import pytest
from sklearn import metrics

from unet_jax.evaluation import scores

SKLEARN = {
  'precision': metrics.precision_score,
  'recall': metrics.recall_score,
  'f1': metrics.f1_score,
  'f05': functools.partial(metrics.fbeta_score, beta=0.5),
  'f2': functools.partial(metrics.fbeta_score, beta=2),
}
MEANS = ('macro', 'micro', 'weighted')
ALL = {*SKLEARN, 'specificity', 'accuracy', 'balanced_accuracy', 'iou'}
# Counts of tp, fp, fn, tn.
NOWHERE = (0, 0, 0, 100)  # The class neither occurs nor is predicted.
FALSE = (0, 5, 0, 95)  # The class is predicted, but doesn't occur.
MISSED = (0, 0, 5, 95)  # The class occurs, but isn't predicted.
HALF = (10, 10, 10, 70)


def draw(seed, num_classes, size=300):
  rng = np.random.default_rng(seed)
  true = rng.choice(num_classes, size, p=rng.dirichlet([2] * num_classes))
  wrong = rng.integers(0, num_classes, size)
  return true, np.where(rng.random(size) < 0.6, true, wrong)


def count(true, pred, num_classes):
  """Counts tp, fp, fn, tn in a loop over pixels: int64[K, 4]."""
  counts = np.zeros((num_classes, 4), np.int64)
  for t, p in zip(true, pred, strict=True):
    for k in range(num_classes):
      cell = (0 if t == k else 1) if p == k else (2 if t == k else 3)
      counts[k, cell] += 1
  return counts


def as_counts(*rows):
  return np.array(rows, np.int64)


@pytest.mark.parametrize('seed', range(4))
def test_class_scores_equal_scikit_learns(seed):
  true, pred = draw(seed, 4)
  ratios = scores.ratios(count(true, pred, 4))
  for name, function in (SKLEARN | {'iou': metrics.jaccard_score}).items():
    expected = function(true, pred, average=None, labels=range(4))
    np.testing.assert_allclose(ratios[name], expected, rtol=1e-12)
  for name, function in (
    ('accuracy', metrics.accuracy_score),
    ('balanced_accuracy', metrics.balanced_accuracy_score),
    ('specificity', functools.partial(metrics.recall_score, pos_label=0)),
  ):
    expected = [function(true == k, pred == k) for k in range(4)]
    np.testing.assert_allclose(ratios[name], expected, rtol=1e-12)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('mean', MEANS)
def test_means_equal_scikit_learns_over_the_foreground(seed, mean):
  true, pred = draw(seed, 4)
  means = scores.means(count(true, pred, 4)[1:])[mean]
  for name, function in (SKLEARN | {'iou': metrics.jaccard_score}).items():
    expected = function(true, pred, average=mean, labels=[1, 2, 3])
    np.testing.assert_allclose(means[name], expected, rtol=1e-12)


@pytest.mark.parametrize('mean', MEANS)
def test_absent_class_is_left_out_of_means_as_in_scikit_learn(mean):
  true, pred = draw(0, 4)
  true, pred = true % 3, pred % 3  # Class 3 neither occurs nor is predicted.
  means = scores.means(count(true, pred, 4)[1:])[mean]
  for name, function in SKLEARN.items():
    expected = function(
      true, pred, average=mean, labels=[1, 2, 3], zero_division=np.nan
    )
    np.testing.assert_allclose(means[name], expected, rtol=1e-12)


def test_means_of_accuracy_follow_the_formulas():
  counts = as_counts((10, 0, 10, 80), (20, 20, 0, 60))  # 0.9 and 0.8.
  means = scores.means(counts)
  assert means['macro']['accuracy'] == pytest.approx(0.85)
  assert means['micro']['accuracy'] == pytest.approx(170 / 200)
  assert means['weighted']['accuracy'] == pytest.approx(0.85)


def test_scores_by_hand():
  ratios = scores.ratios(as_counts((6, 2, 4, 88)))
  assert ratios['precision'] == 6 / 8
  assert ratios['recall'] == 6 / 10
  assert ratios['accuracy'] == 94 / 100
  assert ratios['specificity'] == 88 / 90
  assert ratios['balanced_accuracy'] == (6 / 10 + 88 / 90) / 2
  assert ratios['iou'] == 6 / 12
  assert ratios['f1'] == 12 / 18


def test_an_undefined_score_is_nan_and_a_wrong_prediction_scores_0():
  ratios = scores.ratios(as_counts(NOWHERE, FALSE, MISSED))
  nan = math.nan
  np.testing.assert_array_equal(ratios['f1'], [nan, 0, 0])
  np.testing.assert_array_equal(ratios['iou'], [nan, 0, 0])
  np.testing.assert_array_equal(ratios['precision'], [nan, 0, nan])
  np.testing.assert_array_equal(ratios['recall'], [nan, nan, 0])
  np.testing.assert_array_equal(ratios['specificity'], [1, 0.95, 1])
  np.testing.assert_array_equal(ratios['balanced_accuracy'], [nan, nan, 0.5])


def test_absent_class_does_not_count_and_a_falsely_predicted_one_does():
  f1 = scores.means(as_counts(HALF, NOWHERE))['macro']['f1']
  assert f1 == pytest.approx(0.5)
  f1 = scores.means(as_counts(HALF, FALSE))['macro']['f1']
  assert f1 == pytest.approx(0.25)
  assert math.isnan(scores.means(as_counts(NOWHERE))['macro']['f1'])


def test_weighted_mean_is_by_support():
  counts = as_counts((30, 0, 0, 70), (0, 0, 10, 90), FALSE)
  weighted = scores.means(counts)['weighted']
  assert weighted['f1'] == pytest.approx((30 * 1 + 10 * 0) / 40)
  assert weighted['recall'] == pytest.approx(30 / 40)


def test_order_of_classes_does_not_matter_to_means():
  counts = count(*draw(1, 4), 4)
  means, permuted = scores.means(counts), scores.means(counts[[2, 0, 3, 1]])
  for mean in MEANS:
    for name in ALL:
      np.testing.assert_allclose(
        means[mean][name], permuted[mean][name], rtol=1e-12
      )


NAMES = ('background', 'a', 'b')
IMAGES = np.array(
  [
    [(50, 10, 10, 30), HALF, NOWHERE],
    [(90, 0, 5, 5), NOWHERE, FALSE],
    [(60, 20, 10, 10), (10, 0, 20, 70), NOWHERE],
  ],
  np.int64,
)


def test_report_pools_pixels():
  report = scores.report(IMAGES, NAMES, 2, step=7)
  pooled = report['pooled']
  assert pooled['per_class']['a']['f1'] == pytest.approx(40 / (40 + 10 + 30))
  assert pooled['per_class']['a']['support'] == 50
  assert pooled['per_class']['b']['f1'] == 0
  assert pooled['macro']['f1'] == pytest.approx(0.25)  # Background is left out.
  assert pooled['micro']['f1'] == pytest.approx(40 / (40 + 15 + 30))
  assert report['confusion']['a'] == dict(tp=20, fp=10, fn=30, tn=240)
  assert (report['num_images'], report['checkpoint_step']) == (3, 7)


def test_report_averages_images_where_they_are_defined():
  per_image = scores.report(IMAGES, NAMES, 2, step=7)['per_image']
  f1 = per_image['per_class']['a']['f1']
  assert f1 == pytest.approx((0.5 + 0.5) / 2)  # The second image has no score.
  assert per_image['per_class']['b']['f1'] == 0
  assert per_image['macro']['f1'] == pytest.approx((0.5 + 0 + 0.5) / 3)
  assert per_image['per_class']['a']['support'] == pytest.approx(50 / 3)
  background = [100 / 120, 180 / 185, 120 / 150]
  assert per_image['per_class']['background']['f1'] == pytest.approx(
    np.mean(background)
  )


def test_additive_dice_adds_the_planes_and_exceeds_1():
  report = scores.report(IMAGES, NAMES, 2, step=7)
  each = [row['f1'] for row in report['pooled']['per_class'].values()]
  assert report['additive_dice'] == pytest.approx(sum(each))
  assert report['additive_dice'] > 1
  report = scores.report(IMAGES[:1], NAMES, 2, step=7)  # Without class b.
  assert report['additive_dice'] == pytest.approx(100 / 120 + 0.5)


def test_json_has_the_shape_that_is_promised(tmp_path):
  path = tmp_path / 'evaluation' / 'test.json'
  scores.write(scores.report(IMAGES[:1], NAMES, 2, step=7), path)
  report = json.loads(path.read_text())
  assert set(report) == {
    'pooled',
    'per_image',
    'trivial_f1',
    'trivial_accuracy',
    'additive_dice',
    'confusion',
    'num_images',
    'checkpoint_step',
  }
  for part in ('pooled', 'per_image'):
    assert set(report[part]) == {'per_class', *MEANS}
    assert tuple(report[part]['per_class']) == NAMES
    for row in report[part]['per_class'].values():
      assert set(row) == ALL | {'support'}
    for mean in MEANS:
      assert set(report[part][mean]) == ALL
    assert report[part]['per_class']['b']['f1'] is None
    assert report[part]['per_class']['b']['support'] == 0
  assert tuple(report['confusion']) == NAMES
  for row in report['confusion'].values():
    assert tuple(row) == ('tp', 'fp', 'fn', 'tn')
    assert all(isinstance(value, int) for value in row.values())


def test_report_with_a_matrix_scores_all_classes_as_scikit_learn_does():
  true, pred = draw(0, 4)
  true[true == 3] = 0  # Class 3 is predicted, and does not occur.
  matrix = metrics.confusion_matrix(true, pred)
  report = scores.report(
    count(true, pred, 4)[None], 'abcd', 3, 7, matrix=matrix[None]
  )
  assert report['matrix'] == matrix.tolist()
  accuracy = metrics.accuracy_score(true, pred)
  assert report['overall']['accuracy'] == pytest.approx(accuracy)
  with warnings.catch_warnings(action='ignore'):
    balanced = metrics.balanced_accuracy_score(true, pred)
  assert report['overall']['balanced_accuracy'] == pytest.approx(balanced)


def test_trivial_accuracies_equal_those_of_drawn_predictions():
  rng = np.random.default_rng(0)
  true = rng.choice(2, 200_000, p=[0.8, 0.2])
  accuracies = scores.trivial_accuracy(np.bincount(true), len(true))
  drawn = rng.choice(2, 200_000, p=np.bincount(true) / len(true))
  for name, pred in (
    ('prior', drawn == 1),
    ('everywhere', np.ones(len(true), bool)),
    ('nowhere', np.zeros(len(true), bool)),
  ):
    expected = metrics.accuracy_score(true == 1, pred)
    assert accuracies[name][1] == pytest.approx(expected, abs=5e-3)


def test_score_is_macro_f1_and_minus_1_where_undefined():
  assert scores.score(IMAGES, 2) == pytest.approx(0.25)
  assert scores.score(np.array([[HALF, NOWHERE]]), 1) == -1


def test_trivial_scores_equal_those_of_drawn_predictions():
  rng = np.random.default_rng(0)
  true = rng.choice(3, 200_000, p=[0.7, 0.25, 0.05])
  drawn = rng.choice(3, 200_000, p=np.bincount(true) / len(true))
  f1s = scores.trivial(np.bincount(true), len(true))
  for k in range(3):
    for name, pred in (
      ('prior', drawn == k),
      ('everywhere', np.ones(len(true), bool)),
      ('nowhere', np.zeros(len(true), bool)),
    ):
      expected = metrics.f1_score(true == k, pred, zero_division=0)
      assert f1s[name][k] == pytest.approx(expected, abs=5e-3)


def test_trivial_scores_of_a_class_that_never_occurs_are_undefined():
  f1s = scores.trivial(np.array([0, 10]), 40)
  assert all(math.isnan(f1[0]) for f1 in f1s.values())
  assert f1s['everywhere'][1] == pytest.approx(20 / 50)


def test_a_report_has_what_trivial_predictions_score():
  # Of 200 pixels 35 have the class: calling all of them it has precision 0.175.
  counts = np.array([[HALF], [(10, 0, 5, 85)]])
  report = scores.report(counts, ('a',), 1, step=0)
  assert report['trivial_f1']['nowhere'] == {'a': 0}
  assert report['trivial_f1']['prior'] == {'a': pytest.approx(0.175)}
  assert report['trivial_f1']['everywhere'] == {
    'a': pytest.approx(2 * 0.175 / 1.175)
  }


def test_a_row_pools_the_pixels_of_all_images():
  counts = np.array([[HALF], [(10, 0, 5, 85)]])
  row = scores.row(counts, ('a',), 1)
  # tp 20, fp 10, fn 15.
  assert row['f1_a'] == row['macro_f1'] == pytest.approx(40 / 65)
  assert row['macro_precision'] == pytest.approx(20 / 30)
