"""Checks that a predictor counts, draws and predicts consistently."""

import jax
import numpy as np
import pytest

from unet_jax import build, parallel
from unet_jax.data import labels
from unet_jax.evaluation import predictor as predictor_lib
from unet_jax.evaluation import trained
from unet_jax.nn import objective

SIZES = [(20, 30), (64, 64), (50, 33)]


@pytest.fixture(scope='module')
def made(load_config):
  """Makes a predictor, random weights on every device, and a split."""
  config = load_config('multiclass:tiny', image_size=32)
  config.model.update(depth=1)
  classes = build.make_classes(config, ('a', 'b'))
  loss_of = objective.make_loss(exclusive=True, **config.loss)
  predictor = predictor_lib.make(
    config, classes, (128.0,) * 3, (64.0,) * 3, loss_of=loss_of
  )
  leaves, tree = jax.tree.flatten(
    trained.abstract_variables(predictor.model, 3)
  )
  rng = np.random.default_rng(0)
  variables = tree.unflatten(
    [rng.normal(0, 0.5, x.shape).astype(x.dtype) ** 2 for x in leaves]
  )
  source = [
    dict(
      name=str(i),
      image=rng.integers(0, 256, (*size, 3), np.uint8),
      label=rng.choice(np.array([0, 1, 2, labels.VOID], np.uint8), size),
    )
    for i, size in enumerate(SIZES)
  ]
  return predictor, parallel.replicate(variables), source


def test_the_counts_are_those_of_the_predicted_masks(made):
  predictor, variables, source = made
  result = predictor_lib.score_split(predictor, variables, source)
  assert set(result.losses) == {'loss', 'dice_loss', 'ce_loss'}
  for example, counted in zip(source, result.counts, strict=True):
    planes = predictor_lib.predict(predictor, variables, example['image'])
    label = example['label']
    assert planes.shape == (*label.shape, 3)
    truth = label[..., None] == np.arange(3)
    is_valid = label != labels.VOID
    cells = (planes & truth, planes & ~truth, ~planes & truth, ~planes & ~truth)
    expected = [np.count_nonzero(cell[is_valid], axis=0) for cell in cells]
    np.testing.assert_array_equal(counted, np.stack(expected, axis=-1))
  assert list(result.row)[:2] == ['macro_f1', 'macro_iou']


def test_an_image_that_is_scaled_is_predicted_at_its_own_size(made):
  predictor, variables, source = made
  image = source[2]['image']
  planes = predictor_lib.predict(predictor, variables, image, resize=25)
  assert planes.shape == (50, 33, 3)
  assert planes.dtype == bool


def test_the_first_examples_are_drawn(made):
  predictor, variables, source = made
  panels = predictor_lib.draw(predictor, variables, source)
  assert [panel.shape for panel in panels] == [
    (height, 4 * width + 24, 3) for height, width in SIZES
  ]
