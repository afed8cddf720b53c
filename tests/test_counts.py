"""Confusion counts, against a loop over pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax import parallel
from unet_jax.data import labels, pipeline
from unet_jax.evaluation import counts
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


def count_split(source, num_images):
  """Counts with a model whose prediction is the image."""
  step = functools.partial(
    counts.count_step,
    apply_fn=lambda variables, image: jax.nn.one_hot(
      image[..., 0].astype(int) + variables['shift'], 3
    ),
    preprocess_fn=functools.partial(
      preprocess.preprocess,
      mean=(0.0,),
      std=(1.0,),
      num_planes=3,
      exclusive=True,
    ),
    exclusive=True,
    axis_name=parallel.AXIS,
  )
  batches = pipeline.eval_batches(
    source, max_pixels=64 * 64 * 8, num_devices=jax.device_count()
  )
  variables = parallel.replicate({'shift': jnp.zeros((), int)})
  return counts.count(parallel.map_step(step), variables, batches, num_images)


SIZES = [(20, 30), (64, 64), (5, 5), (70, 20), (64, 10), (33, 33), (1, 1)]


def test_counts_of_a_split_equal_the_loops_in_its_order():
  """Void pixels, padded pixels and padding images don't count."""
  source = make_source(SIZES)
  confusion, losses = count_split(source, len(source))
  assert losses == {}
  assert confusion.dtype == np.int64
  eye = np.eye(3, dtype=bool)
  for example, counted in zip(source, confusion, strict=True):
    pred = eye[example['image'][None, ..., 0]]
    target = example['label'][None, ..., None] == np.arange(3)
    weight = example['label'][None] != labels.VOID
    np.testing.assert_array_equal(counted, loop(pred, target, weight)[0])


def test_split_that_is_not_counted_once_each_is_an_error():
  source = make_source(SIZES)
  with pytest.raises(RuntimeError, match='counted 7 images of 8'):
    count_split(source, len(source) + 1)
