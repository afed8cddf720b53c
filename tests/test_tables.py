"""Texts for the terminal."""

import numpy as np
import pytest
from test_scores import HALF, IMAGES, MEANS, NAMES, as_counts, count

from unet_jax.evaluation import scores, tables


def test_baseline_is_what_constant_predictions_score():
  true = np.repeat([0, 1, 2], [60, 30, 10])
  everywhere = np.mean([2 * 30 / (2 * 30 + 70), 2 * 10 / (2 * 10 + 90)])
  counts = count(true, np.zeros_like(true), 3)[None]
  text = tables.baseline(counts, 2, lr=1.0)
  assert f'everywhere {everywhere:.4f}' in text
  assert 'nowhere 0.0000' in text
  assert f'prior {np.mean([0.3, 0.1]):.4f}' in text
  assert '\n0.0000 is no better than a trivial prediction: ' in text
  assert text.endswith(', or set config.optim.lr nearer 0.002 (now 1)')
  perfect = tables.baseline(count(true, true, 3)[None], 2, lr=1.0)
  assert perfect == text.splitlines()[0]


@pytest.mark.parametrize('lr', [1e-3, 2e-3, 4e-3])
def test_a_usual_learning_rate_is_not_to_be_changed(lr):
  true = np.repeat([0, 1], [60, 40])
  counts = count(true, np.zeros_like(true), 2)[None]
  assert 'optim.lr' not in tables.baseline(counts, 1, lr)


def test_table_has_a_line_a_class_and_a_dash_where_undefined():
  lines = tables.table(scores.report(IMAGES[:1], NAMES, 2, 7)).splitlines()
  assert [line.split()[0] for line in lines] == ['class', *NAMES, *MEANS]
  assert len({len(line) for line in lines}) == 1
  assert lines[2].split()[1:] == ['0.5000'] * 2 + [
    '0.8000',
    '0.3333',
    '0.5000',
    '0.3333',
    '20',
  ]
  assert lines[3].split()[1:] == ['-', '-', '1.0000', '-', '-', '-', '0']


def test_accuracy_of_a_rare_class_says_nothing_unless_errors_are_removed():
  # 30 of 1,000 pixels are of class a: 0.97 is reached by predicting none.
  def caution(*row):
    report = scores.report(as_counts(row, HALF)[None], ('a', 'b'), 2, step=7)
    return tables.caution(report)

  text = caution(10, 15, 20, 955)  # 35 errors are more than 30.
  assert text.startswith('accuracy says nothing about a: a reaches 0.9650, ')
  assert 'reach 0.9700 if no pixel were predicted as it; F1 is 0.3636' in text
  assert 'about a:' in caution(2, 0, 28, 970)  # 2 of 30 errors removed.
  assert caution(20, 5, 10, 965) == ''  # Half of the errors removed.
  assert caution(0, 5, 0, 995) == ''  # The class does not occur.


def test_the_means_of_one_class_are_left_out():
  report = scores.report(IMAGES[:, :1], NAMES[:1], 1, 7)
  lines = tables.table(report).splitlines()
  assert [line.split()[0] for line in lines] == ['class', NAMES[0]]
