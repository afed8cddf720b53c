"""What is measured equals loops over pixels, and libraries on written masks."""

import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from unet_jax.data import labels
from unet_jax.evaluation import curves, decisions, measuring, summary

SIZES = [(20, 30), (64, 64), (5, 5), (33, 47)]
EXCLUSIVE = labels.ClassSpec(('background', 'a', 'b'), 2, exclusive=True)
BINARY = labels.ClassSpec(('a',), 1, exclusive=False)
OVERLAPPING = labels.ClassSpec(('a', 'b'), 2, exclusive=False)


def draw(classes, seed=0):
  """Draws examples, some of their pixels void, and logits."""
  rng = np.random.default_rng(seed)
  examples, logits = [], []
  for i, size in enumerate(SIZES):
    planes = len(classes.planes)
    shape = size if classes.exclusive or planes == 1 else (*size, planes)
    values = planes if classes.exclusive else 2
    label = rng.integers(0, values, shape).astype(np.uint8)
    label[rng.random(size) < 0.1] = labels.VOID
    examples.append(dict(name=f'im{i}', label=label))
    logits.append(rng.normal(0, 3, (*size, planes)).astype(np.float32))
  return examples, logits


def measure(examples, logits, classes, with_shapes=True):
  samples = zip(examples, logits, strict=True)
  return measuring.measure(samples, classes, step=7, with_shapes=with_shapes)


def flat(examples, logits, classes):
  """Returns truth bool[P, K] and logits float32[P, K] of pixels that count."""
  truth, values = [], []
  for example, x in zip(examples, logits, strict=True):
    label = example['label']
    is_valid = label != labels.VOID
    if label.ndim == 3:
      is_valid = is_valid.all(axis=-1)
      truth.append(label[is_valid] == 1)
    elif classes.exclusive:
      truth.append(label[is_valid][:, None] == np.arange(3))
    else:
      truth.append(label[is_valid][:, None] == 1)
    values.append(x[is_valid])
  return truth, values


@pytest.mark.parametrize('classes', [EXCLUSIVE, BINARY, OVERLAPPING])
def test_counts_of_each_image_are_scikit_learns(classes, monkeypatch):
  monkeypatch.setattr(measuring, 'CHUNK', 512)  # Several for an image.
  examples, logits = draw(classes)
  record = measure(examples, logits, classes, with_shapes=False)
  truth, values = flat(examples, logits, classes)
  assert record.names == ['im0', 'im1', 'im2', 'im3']
  assert record.counts.dtype == np.int64
  for i in range(len(SIZES)):
    pred = values[i] > 0
    if classes.exclusive:
      pred = values[i].argmax(axis=-1)[:, None] == np.arange(3)
      expected = metrics.confusion_matrix(
        truth[i].argmax(axis=-1), pred.argmax(axis=-1), labels=range(3)
      )
      np.testing.assert_array_equal(record.matrix[i], expected)
    for k in range(len(classes.planes)):
      tn, fp, fn, tp = metrics.confusion_matrix(
        truth[i][:, k], pred[:, k], labels=[False, True]
      ).ravel()
      assert record.counts[i, k].tolist() == [tp, fp, fn, tn]


@pytest.mark.parametrize('classes', [EXCLUSIVE, BINARY, OVERLAPPING])
def test_average_precision_of_a_split_is_scikit_learns(classes):
  examples, logits = draw(classes, seed=1)
  record = measure(examples, logits, classes, with_shapes=False)
  truth, values = (np.concatenate(x) for x in flat(examples, logits, classes))
  wide = values.astype(np.float64)
  probs = (
    special.softmax(wide, -1) if classes.exclusive else special.expit(wide)
  )
  for k in range(len(classes.planes)):
    exact = metrics.average_precision_score(truth[:, k], probs[:, k])
    got = curves.average_precision(record.histogram[k])
    assert got == pytest.approx(exact, abs=1e-3)


def test_measures_of_two_halves_add_up_to_those_of_the_whole():
  examples, logits = draw(EXCLUSIVE)
  whole = measure(examples, logits, EXCLUSIVE)
  halves = [
    measure(examples[part], logits[part], EXCLUSIVE)
    for part in (slice(0, 1), slice(1, None))
  ]
  np.testing.assert_array_equal(
    whole.histogram, halves[0].histogram + halves[1].histogram
  )
  for name in ('counts', 'matrix', 'outlines', 'objects', 'levels'):
    parts = [getattr(half, name) for half in halves]
    np.testing.assert_array_equal(getattr(whole, name), np.concatenate(parts))


def test_void_pixels_belong_to_no_object():
  label = np.zeros((20, 20), np.uint8)
  label[2:6, 2:6] = 1
  label[10:14, 10:14] = labels.VOID
  logits = np.full((20, 20, 1), -3, np.float32)
  logits[2:6, 2:6] = logits[10:14, 10:14] = 3
  record = measure([dict(name='a', label=label)], [logits], BINARY)
  assert record.objects.tolist() == [[[1, 1, 1, 1, 1]]]
  np.testing.assert_array_equal(record.outlines, [[[1, 0, 1, 1]]])
  report = summary.summarise(record)
  assert report['objects']['a']['froc']['0.125'] == 1
  assert report['outlines']['a']['hd95'] == {'mean': 0, 'undefined': 0}
  assert report['curves']['a']['threshold_f1'] == 1


def test_summary_counts_the_images_without_a_score():
  examples, logits = draw(BINARY)
  examples[1]['label'][:] = 0
  record = measure(examples, logits, BINARY, with_shapes=True)
  report = summary.summarise(record)
  assert report['outlines']['a']['hd95']['undefined'] == 1
  lower, upper = report['intervals']['f1_a']
  assert lower <= report['pooled']['per_class']['a']['f1'] <= upper
  assert report['intervals']['macro_f1'] == [lower, upper]


@pytest.mark.parametrize('classes', [BINARY, OVERLAPPING])
def test_thresholds_are_counted_beside_one_half(classes):
  examples, logits = draw(classes)
  cuts = (-1.5, 0.75)[: len(classes.planes)]
  record = measuring.measure(
    zip(examples, logits, strict=True),
    classes,
    step=7,
    with_shapes=False,
    rule=decisions.Rule(thresholds=cuts),
  )
  truth, values = flat(examples, logits, classes)
  assert record.variants == ['at 1/2']
  for i in range(len(SIZES)):
    for k, cut in enumerate(cuts):
      for counted, t in ((record.counts, cut), (record.variant_counts[0], 0)):
        tn, fp, fn, tp = metrics.confusion_matrix(
          truth[i][:, k], values[i][:, k] >= t, labels=[False, True]
        ).ravel()
        assert counted[i, k].tolist() == [tp, fp, fn, tn]


@pytest.mark.parametrize('classes', [EXCLUSIVE, BINARY])
def test_the_whole_image_is_counted_beside_the_field_of_view(classes):
  examples, logits = draw(classes)
  for example in examples:
    example['whole_label'] = example['label'].copy()
    example['label'][:, :3] = labels.VOID
  record = measure(examples, logits, classes, with_shapes=False)
  whole = [x | {'label': x['whole_label']} for x in examples]
  expected = measure(whole, logits, classes, with_shapes=False)
  np.testing.assert_array_equal(record.variant_counts[0], expected.counts)
  report = summary.summarise(record)
  f1 = report['variants']['whole image']['macro']['f1']
  assert f1 == summary.summarise(expected)['pooled']['macro']['f1']
  assert record.counts.sum() < expected.counts.sum()
