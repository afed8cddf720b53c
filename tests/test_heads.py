"""Mapped heads: the probability that the new model gives each class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax import errors
from unet_jax.data import labels
from unet_jax.training.transfer import heads, planning

VESSELS = labels.ClassSpec(('vessels',), 1, exclusive=False)
LESIONS = labels.ClassSpec(('background', 'red', 'bright'), 2, exclusive=True)


def planes(kernel, bias, features):
  return features @ kernel[0, 0] + bias


def softmax(logits):
  return np.asarray(jax.nn.softmax(jnp.asarray(logits)))


def sigmoid(logits):
  return np.asarray(jax.nn.sigmoid(jnp.asarray(logits)))


def map_head(new_classes, old_classes, classes):
  """Returns the head's plan and logits: mapped, old, and new at random."""
  rng = np.random.default_rng(0)

  def draw(classes):
    num = len(classes.planes)
    body = rng.normal(size=(1, 1, 3, 1)).astype(np.float32)
    return {
      'params': {
        'down0': {'conv0': {'kernel': body}},
        'head': {
          'kernel': rng.normal(size=(1, 1, 3, num)).astype(np.float32),
          'bias': rng.normal(size=num).astype(np.float32),
        },
      }
    }

  new, old = draw(new_classes), draw(old_classes)
  head = heads.map_head(new_classes, old_classes, classes)
  plan = planning.make_plan(new, old, head, channels=(3, 3))
  merged = jax.device_get(planning.apply(plan, new, old))
  features = rng.normal(size=(50, 3)).astype(np.float32)
  return plan['params/head/kernel'], [
    planes(**tree['params']['head'], features=features)
    for tree in (merged, old, new)
  ]


def test_a_sigmoid_becomes_a_softmax_of_the_same_probability():
  both = labels.ClassSpec(('background', 'vessels'), 1, exclusive=True)
  leaf, (new, old, _) = map_head(both, VESSELS, {})
  assert (leaf.action, leaf.why) == (
    *('mapped', 'vessels from vessels, background zero'),
  )
  np.testing.assert_allclose(softmax(new)[:, 1], sigmoid(old)[:, 0], rtol=1e-5)


def test_classes_that_share_an_old_class_share_its_probability():
  shared = dict.fromkeys(('red', 'bright'), 'vessels')
  _, (new, old, _) = map_head(LESIONS, VESSELS, shared)
  probs = softmax(new)
  np.testing.assert_allclose(probs[:, 1], probs[:, 2], rtol=1e-6)
  np.testing.assert_allclose(probs[:, 1:].sum(1), sigmoid(old)[:, 0], rtol=1e-5)


def test_splitting_a_class_keeps_the_probabilities_of_the_others():
  four = labels.ClassSpec(
    ('background', 'bright', 'dots', 'red'), 3, exclusive=True
  )
  _, (new, old, _) = map_head(four, LESIONS, {'dots': 'red'})
  old, new = softmax(old), softmax(new)
  np.testing.assert_allclose(new[:, :2], old[:, [0, 2]], rtol=1e-5)
  np.testing.assert_allclose(new[:, 2:], old[:, [1, 1]] / 2, rtol=1e-5)


def test_a_softmax_of_one_class_becomes_a_sigmoid_of_the_same_probability():
  both = labels.ClassSpec(('background', 'vessels'), 1, exclusive=True)
  _, (new, old, _) = map_head(VESSELS, both, {})
  np.testing.assert_allclose(sigmoid(new)[:, 0], softmax(old)[:, 1], rtol=1e-5)


def test_planes_of_sigmoids_are_mapped_by_name_in_any_order():
  names = ('a', 'b', 'c')
  new_classes = labels.ClassSpec(('c', 'x', 'a', 'y'), 4, exclusive=False)
  leaf, (new, old, drawn) = map_head(
    new_classes, labels.ClassSpec(names, 3, exclusive=False), {'y': 'b'}
  )
  assert leaf.why == 'c from c, x fresh, a from a, y from b'
  np.testing.assert_allclose(new[:, [0, 2, 3]], old[:, [2, 0, 1]], rtol=1e-5)
  np.testing.assert_allclose(new[:, 1], drawn[:, 1], rtol=1e-5)


def test_a_class_can_be_set_to_start_fresh():
  leaf, (new, old, drawn) = map_head(LESIONS, LESIONS, {'red': ''})
  assert leaf.why == 'red fresh, bright from bright'
  np.testing.assert_allclose(new[:, [0, 2]], old[:, [0, 2]], rtol=1e-5)
  np.testing.assert_allclose(new[:, 1], drawn[:, 1], rtol=1e-5)


def test_the_same_classes_are_copied_and_none_in_common_is_a_fresh_head():
  leaf, (new, old, _) = map_head(LESIONS, LESIONS, {})
  assert leaf.action == 'copied'
  np.testing.assert_array_equal(new, old)
  leaf, (new, _, drawn) = map_head(LESIONS, VESSELS, {'red': ''})
  assert leaf.action == 're-initialised'
  assert 'config.transfer.classes' in leaf.why
  np.testing.assert_array_equal(new, drawn)


@pytest.mark.parametrize(
  ('classes', 'message'),
  [
    ({'rde': 'vessels'}, 'has rde; the classes are red, bright'),
    (
      {'red': 'veins'},
      'red is veins; the classes of the other run are vessels',
    ),
  ],
)
def test_unknown_classes_are_refused(classes, message):
  with pytest.raises(errors.InputError, match=message):
    heads.map_head(LESIONS, VESSELS, classes)
