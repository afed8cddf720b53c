"""Scores, against torchmetrics, MONAI, scikit-image and Cheng's OpenCV code.

benchmarks/peers/metric_values.py has written their values to metric_peers.json.
"""

import json
import pathlib

import numpy as np
import pytest

from unet_jax.evaluation import curves, matrix, scores, surface

PATH = pathlib.Path(__file__).with_name('metric_peers.json')
CASES = json.loads(PATH.read_text())['cases']


def arrays(case):
  """Returns prediction and truth uint8[H, W], and logits float32[H, W]."""
  dtypes = {'pred': np.uint8, 'truth': np.uint8, 'logits': np.float32}
  return [
    np.frombuffer(bytes.fromhex(case[key]), dtype).reshape(case['shape'])
    for key, dtype in dtypes.items()
  ]


@pytest.mark.parametrize('case', CASES)
def test_scores_of_classes_are_those_of_torchmetrics(case):
  pred, truth, _ = arrays(case)
  counted = np.asarray(matrix.count(pred[None], truth[None], 3))[0]
  expected = dict(case['classes'])
  np.testing.assert_array_equal(counted, expected.pop('matrix'))
  ratios = scores.ratios(matrix.to_counts(counted))
  for name, values in expected.items():
    np.testing.assert_allclose(ratios[name], values, atol=1e-6)


@pytest.mark.parametrize('case', CASES)
def test_curves_are_those_of_torchmetrics(case):
  _, truth, logits = arrays(case)
  histogram = curves.histogram(
    logits[None, ..., None],
    (truth > 0)[None, ..., None].astype(np.float32),
    np.ones((1, *truth.shape)),
  )
  histogram = np.asarray(histogram, np.int64)[0]
  got = {
    'ap': curves.average_precision(histogram),
    'auroc': curves.auroc(histogram),
    'ece': curves.calibrate(histogram).error,
  }
  assert got == pytest.approx(case['curves'], abs=1e-6)


@pytest.mark.parametrize('case', CASES)
def test_outlines_and_centre_lines_are_those_of_monai_and_others(case):
  pred, truth, _ = arrays(case)
  expected = dict(case['masks'])
  line = np.frombuffer(bytes.fromhex(expected.pop('skeleton')), np.uint8)
  line = np.unpackbits(line)[: truth.size].reshape(truth.shape)
  np.testing.assert_array_equal(surface.skeleton(truth > 0), line)
  got = surface.measure(pred > 0, truth > 0)
  assert got == pytest.approx(expected, abs=1e-6)
