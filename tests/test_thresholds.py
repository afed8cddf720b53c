"""Thresholds are those of a search, and of the weights they are for."""

import json

import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from test_curves import draw, to_histogram

from unet_jax import errors
from unet_jax.data import labels
from unet_jax.evaluation import curves, scores, thresholds

CLASSES = labels.ClassSpec(('a', 'b'), 2, exclusive=False)


def choose(*histograms, weights=('step 7',)):
  return thresholds.choose(
    np.stack(histograms), CLASSES.planes, weights=weights, origin='chosen on x'
  )


def f1_at(truth, logits, threshold):
  pred = logits >= threshold
  return 2 * np.sum(truth & pred) / (np.sum(truth) + np.sum(pred))


def test_thresholds_are_the_best_of_a_search_and_score_what_scikit_learn_says():
  drawn = [draw(1, prior=0.05), draw(2, prior=0.4)]
  saved = choose(*(to_histogram(*pair) for pair in drawn))
  cuts = thresholds.logits(saved)
  for (logits, truth), row, cut in zip(
    drawn, saved['classes'].values(), cuts, strict=True
  ):
    best = max(f1_at(truth, logits, t * 3 / 256) for t in range(-800, 800))
    assert row['f1'] == pytest.approx(best, rel=1e-12)
    f1 = metrics.f1_score(truth.ravel(), logits.ravel() >= cut)
    assert row['f1'] == pytest.approx(f1, rel=1e-12)
    half = metrics.f1_score(truth.ravel(), logits.ravel() >= 0)
    assert row['f1_at_half'] == pytest.approx(half, rel=1e-12)
    assert half < f1
    assert row['threshold'] == pytest.approx(special.expit(cut))


def test_counts_at_an_edge_are_those_of_a_confusion_matrix():
  logits, truth = draw(3)
  histogram = to_histogram(logits, truth)
  for logit in (-24, -3 * curves.WIDTH, 0, 2.25):
    tn, fp, fn, tp = metrics.confusion_matrix(
      truth.ravel(), logits.ravel() >= logit, labels=[False, True]
    ).ravel()
    np.testing.assert_array_equal(
      curves.count_at(histogram, logit), [tp, fp, fn, tn]
    )


def test_a_class_that_does_not_occur_keeps_one_half():
  logits, truth = draw(4)
  empty = to_histogram(logits, np.zeros_like(truth))
  saved = choose(to_histogram(logits, truth), empty)
  assert saved['classes']['b']['threshold'] == 0.5


def test_thresholds_of_other_weights_are_not_taken(tmp_path):
  logits, truth = draw(5)
  saved = choose(*[to_histogram(logits, truth)] * 2)
  path = thresholds.path(tmp_path)
  scores.write(saved, path)
  assert json.loads(path.read_text()) == saved
  assert thresholds.find(path, ['step 7'], CLASSES, '') == saved
  for weights, classes in (
    (['step 8'], CLASSES),
    (['step 7'], CLASSES._replace(planes=('a', 'c'))),
  ):
    with pytest.raises(errors.InputError, match='on val by: the command'):
      thresholds.find(path, weights, classes, 'the command')


def test_exclusive_classes_have_no_thresholds(tmp_path):
  exclusive = labels.ClassSpec(('background', 'a'), 1, exclusive=True)
  with pytest.raises(errors.InputError, match='leave the flag out'):
    thresholds.find(tmp_path / 'x.json', ['step 7'], exclusive, '')
