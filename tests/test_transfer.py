"""Warm starts: the plan for every mismatch, and the outputs of the model."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from unet_jax import errors
from unet_jax.data import labels
from unet_jax.nn import unet
from unet_jax.training.transfer import heads, planning

VESSELS = labels.ClassSpec(('vessels',), 1, exclusive=False)
SAME = heads.map_head(VESSELS, VESSELS, {})


def init(seed, channels=3, **model):
  """Returns a tiny model, and variables that all differ."""
  net = unet.UNet(**dict(num_planes=1, depth=1, width=4) | model)
  image = jnp.zeros((1, 4, 4, channels))
  variables = jax.jit(net.init)(jax.random.key(seed, impl='rbg'), image)
  rng = np.random.default_rng(seed)
  variables = jax.tree.map(
    lambda x: x + 0.1 * rng.random(x.shape, np.float32), variables
  )
  return net, {'batch_stats': {}, **variables}


def flat(variables):
  return traverse_util.flatten_dict(jax.device_get(variables), sep='/')


def make_plan(new, old, head=SAME, channels=(3, 3)):
  return planning.make_plan(new, old, head, channels=channels)


@pytest.fixture(scope='module')
def plain():
  return init(0)


@pytest.fixture(scope='module')
def gray():
  return init(1, channels=1)


def draw_image(channels):
  rng = np.random.default_rng(3)
  return jnp.asarray(rng.normal(size=(2, 8, 8, channels)), jnp.float32)


# Mismatch -> (settings of the other model, {leaf: line of the plan}). All other
# leaves are copied.
MISMATCHES = {
  'none': (dict(), {}),
  'channels that no rule maps': (
    dict(channels=4),
    {
      'params/down0/conv0/kernel': (
        r're-initialised \(shape \(3, 3, 3, 4\) here, \(3, 3, 4, 4\) there.*\)'
      )
    },
  ),
  'one channel there': (
    dict(channels=1),
    {'params/down0/conv0/kernel': (r'inflated \(3 channels here, 1 there\)')},
  ),
  'planes': (
    dict(num_planes=2),
    {
      'params/head/kernel': r're-initialised \(planes: 1 here, 2 there\)',
      'params/head/bias': r're-initialised \(planes: 1 here, 2 there\)',
    },
  ),
  'a deeper model there': (
    dict(depth=2),
    {
      r'params/bottleneck/conv0/kernel': r're-initialised \(shape .*\)',
      r'params/bottleneck/conv1/kernel': r're-initialised \(shape .*\)',
      r'(params|batch_stats)/bottleneck/norm\d/.*': r're-initialised \(.*\)',
      r'(params|batch_stats)/(down1|up1|merge1)/.*': (
        r'skipped \(not in this model\)'
      ),
    },
  ),
  'no norm there': (
    dict(norm='none'),
    {
      r'(params|batch_stats)/.*/norm\d/.*': (
        r're-initialised \(not in the other run\)'
      ),
      r'params/(down0|bottleneck|merge0)/conv\d/bias': (
        r'skipped \(not in this model\)'
      ),
    },
  ),
  'group norm there': (
    dict(norm='group'),
    {r'batch_stats/.*': r're-initialised \(not in the other run\)'},
  ),
}


@pytest.mark.parametrize('mismatch', MISMATCHES)
def test_the_plan_gives_the_action_and_reason_of_each_leaf(plain, mismatch):
  model, expected = MISMATCHES[mismatch]
  _, new = plain
  _, old = init(1, **model)
  plan = make_plan(new, old, channels=(3, model.get('channels', 3)))
  assert set(plan) == set(flat(new)) | set(flat(old))
  lines = dict(x.split(': ', 1) for x in planning.describe(plan).splitlines())
  used_rules = set()
  for path, line in lines.items():
    rule = next((r for r in expected if re.fullmatch(r, path)), None)
    used_rules.add(rule)
    assert re.fullmatch(expected.get(rule, 'copied'), line), (path, line)
  assert used_rules >= set(expected)
  merged = flat(planning.apply(plan, new, old))
  for path, value in flat(new).items():
    assert merged[path].shape == value.shape
    if plan[path].action == 'copied':
      np.testing.assert_array_equal(merged[path], flat(old)[path])
    elif plan[path].action == 're-initialised':
      np.testing.assert_array_equal(merged[path], value)


def test_a_gray_model_gives_the_same_logits_for_three_equal_channels(
  plain, gray
):
  net, new = plain
  _, old = gray
  plan = make_plan(new, old, channels=(3, 1))
  image = draw_image(1)
  np.testing.assert_allclose(
    net.apply(planning.apply(plan, new, old), jnp.repeat(image, 3, axis=3)),
    net.apply(old, image),
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_model_for_three_channels_gives_the_same_logits_for_gray(plain, gray):
  net, old = plain
  _, new = gray
  plan = make_plan(new, old, channels=(1, 3))
  assert plan['params/down0/conv0/kernel'].action == 'summed'
  image = draw_image(1)
  np.testing.assert_allclose(
    net.apply(planning.apply(plan, new, old), image),
    net.apply(old, jnp.repeat(image, 3, axis=3)),
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize('width', [2, 6])
def test_a_model_of_another_width_is_refused(plain, width):
  _, new = plain
  _, old = init(1, width=width)
  with pytest.raises(errors.InputError, match='no kernel of the other run'):
    make_plan(new, old)


def test_a_part_that_is_re_initialised_can_not_be_frozen(plain):
  _, new = plain
  _, old = init(1, channels=4)
  plan = make_plan(new, old, channels=(3, 4))
  planning.check_frozen(plan, ('decoder', 'norms', 'bottleneck'))
  with pytest.raises(
    errors.InputError, match='random initial weights of down0/conv0/kernel'
  ):
    planning.check_frozen(plan, ('encoder',))


def test_the_summary_has_a_line_for_all_parts_with_equal_actions(plain):
  _, new = plain
  _, old = init(1, channels=1, num_planes=2)
  plan = make_plan(new, old, channels=(3, 1))
  # A block has ten leaves: two kernels, and two norms of four.
  assert planning.summarise(plan).splitlines() == [
    '  encoder: 9 leaves copied, 1 leaf inflated (3 channels here, 1 there)',
    '  bottleneck, decoder: 22 leaves copied',
    '  head: 2 leaves re-initialised (planes: 1 here, 2 there)',
  ]
