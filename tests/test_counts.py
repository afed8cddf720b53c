"""Confusion counts, against a loop over pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax import parallel
from unet_jax.data import labels
from unet_jax.evaluation import counts, predictor
from unet_jax.nn import preprocess


def loop(pred, target, weight):
  """Counts tp, fp, fn, tn pixel by pixel: int64[B, K, 4]."""
  cells = np.zeros((pred.shape[0], pred.shape[-1], 4), np.int64)
  for b, y, x, k in np.ndindex(pred.shape):
    if weight[b, y, x]:
      p, t = pred[b, y, x, k], target[b, y, x, k]
      cells[b, k, (0 if t else 1) if p else (2 if t else 3)] += 1
  return cells


@pytest.mark.parametrize('seed', range(3))
def test_confusion_equals_a_loop_over_pixels(seed):
  rng = np.random.default_rng(seed)
  pred = rng.random((2, 5, 7, 3)) < 0.4
  target = rng.random((2, 5, 7, 3)) < 0.4
  weight = (rng.random((2, 5, 7)) < 0.7).astype(np.float32)
  confusion = counts.confusion(*map(jnp.asarray, (pred, target, weight)))
  assert confusion.dtype == jnp.int32
  np.testing.assert_array_equal(confusion, loop(pred, target, weight))
  np.testing.assert_array_equal(confusion.sum(-1)[:, 0], weight.sum((1, 2)))


def test_of_a_soft_label_more_than_a_half_is_the_class():
  target = jnp.array([0.0, 0.5, 0.51, 1.0])[None, None, :, None]
  pred, weight = jnp.ones(target.shape, bool), jnp.ones(target.shape[:3])
  confusion = counts.confusion(pred, target, weight)
  assert confusion.tolist() == [[[2, 2, 0, 0]]]


def test_large_image_is_counted_exactly():
  """A float32 sum would lose pixels beyond 2**24."""
  shape = (1, 4100, 4100, 1)
  confusion = counts.confusion(
    jnp.ones(shape, bool), jnp.ones(shape), jnp.ones(shape[:3])
  )
  assert confusion.tolist() == [[[4100**2, 0, 0, 0]]]


def test_exclusive_prediction_is_the_largest_plane():
  logits = jnp.array([[[[1.0, 3, 2], [0, -2, -1], [5, 5, 0]]]])
  planes = counts.predicted_planes(logits, exclusive=True)
  assert planes.dtype == bool
  expected = np.eye(3, dtype=bool)[[1, 0, 0]]  # The first one wins a tie.
  np.testing.assert_array_equal(planes[0, 0], expected)


def test_overlapping_prediction_is_probability_above_one_half():
  logits = jnp.array([[[[-0.1, 0.1], [0.0, 9.0]]]])
  planes = counts.predicted_planes(logits, exclusive=False)
  np.testing.assert_array_equal(planes, [[[[False, True], [False, True]]]])


def make_source(sizes, num_classes=3):
  """Makes images whose first channel is the predicted class."""
  rng = np.random.default_rng(0)
  values = np.array([*range(num_classes), labels.VOID], np.uint8)
  return [
    dict(
      name=str(i),
      image=rng.integers(0, num_classes, (*size, 1), np.uint8),
      label=rng.choice(values, size),
      overlap=0,
    )
    for i, size in enumerate(sizes)
  ]


def make_predictor():
  """Makes a predictor whose prediction is the image."""

  def logits(_, batch):
    return jax.nn.one_hot(batch['image'][..., 0], 3)

  def count(_, batch):
    return counts.count_step(
      batch,
      targets_of=functools.partial(
        preprocess.targets, num_planes=3, exclusive=True
      ),
      exclusive=True,
    )

  return predictor.Predictor(
    *(None, None, (), (), 64, 64 * 64 * 8),
    parallel.map_batches(logits),
    parallel.map_batches(count),
  )


# One does not fit into a window, and one not into four.
SIZES = [(20, 30), (64, 64), (5, 5), (70, 20), (64, 10), (130, 140), (1, 1)]


def test_counts_of_a_split_equal_the_loops_in_its_order():
  """Void pixels, padded pixels and padding images don't count."""
  source = make_source(SIZES)
  confusion, losses = predictor.count_split(make_predictor(), None, source)
  assert losses == {}
  assert confusion.dtype == np.int64
  eye = np.eye(3, dtype=bool)
  for example, counted in zip(source, confusion, strict=True):
    pred = eye[example['image'][None, ..., 0]]
    target = example['label'][None, ..., None] == np.arange(3)
    weight = example['label'][None] != labels.VOID
    np.testing.assert_array_equal(counted, loop(pred, target, weight)[0])


def test_split_that_is_not_counted_once_each_is_an_error():
  row = dict(
    counts=np.ones((2, 3, 4), np.int32),
    index=np.array([0, 1]),
    weight=np.ones(2, np.float32),
    losses={},
  )
  assert counts.add_up([row], 2)[0].shape == (2, 3, 4)
  for results, num_images, num_counted in (
    ([row], 3, 2),
    ([row], 1, 2),
    ([row, row], 2, 2),
    ([row | dict(weight=np.array([1, 0.5]))], 2, 2),
  ):
    with pytest.raises(RuntimeError, match=f'{num_counted} images of'):
      counts.add_up(results, num_images)


def test_the_loss_of_an_image_is_the_mean_of_its_windows_by_their_pixels():
  cells = np.zeros((3, 1, 4), np.int32)
  cells[:, 0, 3] = 4, 12, 5  # Pixels that count.
  rows = dict(
    counts=cells,
    index=np.array([0, 0, 1]),
    weight=np.array([0.5, 0.5, 1], np.float32),
    losses={'loss': np.array([1, 2, 0.25], np.float32)},
  )
  total, losses = counts.add_up([rows], 2)
  assert total[:, 0, 3].tolist() == [16, 5]
  assert losses == {'loss': (1.75 + 0.25) / 2}
