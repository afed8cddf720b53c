"""Warm starts: the plan for every mismatch, and what the model then says."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from unet_jax import build, parallel
from unet_jax import config as config_lib
from unet_jax.nn import unet
from unet_jax.nn.preprocess import Inputs
from unet_jax.training import transfer

VESSELS = build.Task(('vessels',), 1, exclusive=False)
LESIONS = build.Task(('background', 'red', 'bright'), 2, exclusive=True)
SAME = transfer.map_head(VESSELS, VESSELS, {})


def init(seed, channels=3, **model):
  """Returns a tiny model and variables of which no two are alike."""
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


def make_plan(new, old, head=SAME, channels=(3, 3), resize='never'):
  return transfer.make_plan(new, old, head, channels=channels, resize=resize)


@pytest.fixture(scope='module')
def plain():
  return init(0)


@pytest.fixture(scope='module')
def gray():
  return init(1, channels=1)


def draw_image(channels):
  rng = np.random.default_rng(3)
  return jnp.asarray(rng.normal(size=(2, 8, 8, channels)), jnp.float32)


# One mismatch at a time: leaf -> what the plan says of it. All others are
# copied, but where `rest` says otherwise.
MISMATCHES = {
  'none': (dict(), {}),
  'channels that no rule joins': (
    dict(channels=4),
    {
      'params/down0/conv0/kernel': (
        r're-initialised \(shape \(3, 3, 3, 4\) here, \(3, 3, 4, 4\) there.*\)'
      )
    },
  ),
  'one channel more': (
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
  'a deeper one there': (
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
def test_the_plan_says_what_becomes_of_each_leaf_and_why(plain, mismatch):
  model, expected = MISMATCHES[mismatch]
  _, new = plain
  _, old = init(1, **model)
  plan = make_plan(new, old, channels=(3, model.get('channels', 3)))
  assert set(plan) == set(flat(new)) | set(flat(old))
  lines = dict(x.split(': ', 1) for x in transfer.describe(plan).splitlines())
  used = set()
  for path, line in lines.items():
    rule = next((r for r in expected if re.fullmatch(r, path)), None)
    used.add(rule)
    assert re.fullmatch(expected.get(rule, 'copied'), line), (path, line)
  assert used >= set(expected)
  merged = flat(transfer.apply(plan, new, old))
  for path, value in flat(new).items():
    assert merged[path].shape == value.shape
    if plan[path].action == 'copied':
      np.testing.assert_array_equal(merged[path], flat(old)[path])
    elif plan[path].action == 're-initialised':
      np.testing.assert_array_equal(merged[path], value)


def test_a_model_for_gray_gives_the_same_for_three_equal_channels(plain, gray):
  net, new = plain
  _, old = gray
  plan = make_plan(new, old, channels=(3, 1))
  image = draw_image(1)
  np.testing.assert_allclose(
    net.apply(transfer.apply(plan, new, old), jnp.repeat(image, 3, axis=3)),
    net.apply(old, image),
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_model_for_three_channels_gives_the_same_for_gray(plain, gray):
  net, old = plain
  _, new = gray
  plan = make_plan(new, old, channels=(1, 3))
  assert plan['params/down0/conv0/kernel'].action == 'summed'
  image = draw_image(1)
  np.testing.assert_allclose(
    net.apply(transfer.apply(plan, new, old), image),
    net.apply(old, jnp.repeat(image, 3, axis=3)),
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize(('width', 'action'), [(2, 'widened'), (6, 'cut')])
def test_another_width_is_taken_by_its_corner_only_when_asked(
  plain, width, action
):
  _, new = plain
  _, old = init(1, width=width)
  with pytest.raises(config_lib.InputError, match='nothing of the other run'):
    make_plan(new, old)
  plan = make_plan(new, old, resize='corner')
  merged, new, old = (
    flat(tree) for tree in (transfer.apply(plan, new, old), new, old)
  )
  both = min(width, 4)
  # The image's channels are as many in both, and so is the plane.
  for path, window in (
    ('params/down0/conv0/kernel', np.s_[:, :, :, :both]),
    ('params/bottleneck/conv0/kernel', np.s_[:, :, :both, : 2 * both]),
    ('params/up0/kernel', np.s_[:, :, : 2 * both, :both]),
    ('params/head/kernel', np.s_[:, :, :both]),
    ('batch_stats/down0/norm0/mean', np.s_[:both]),
    ('params/merge0/conv1/kernel', np.s_[:, :, :both, :both]),
  ):
    assert plan[path].action in (action, 'mapped'), path
    expected = new[path].copy()
    expected[window] = old[path][window]
    np.testing.assert_array_equal(merged[path], expected, err_msg=path)
  # A merge sees the skip's channels and then those from below: each in place.
  path = 'params/merge0/conv0/kernel'
  expected = new[path].copy()
  expected[:, :, :both, :both] = old[path][:, :, :both, :both]
  expected[:, :, 4 : 4 + both, :both] = old[path][
    :, :, width : width + both, :both
  ]
  np.testing.assert_array_equal(merged[path], expected)


def planes(kernel, bias, features):
  return features @ kernel[0, 0] + bias


def softmax(logits):
  return np.asarray(jax.nn.softmax(jnp.asarray(logits)))


def sigmoid(logits):
  return np.asarray(jax.nn.sigmoid(jnp.asarray(logits)))


def map_head(new_task, old_task, classes):
  """Returns logits of random features: (new, old, the new as it was drawn)."""
  rng = np.random.default_rng(0)

  def draw(task):
    num = len(task.planes)
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

  new, old = draw(new_task), draw(old_task)
  plan = make_plan(new, old, transfer.map_head(new_task, old_task, classes))
  merged = jax.device_get(transfer.apply(plan, new, old))
  features = rng.normal(size=(50, 3)).astype(np.float32)
  return plan['params/head/kernel'], [
    planes(**tree['params']['head'], features=features)
    for tree in (merged, old, new)
  ]


def test_a_sigmoid_becomes_a_softmax_of_the_same_probability():
  both = build.Task(('background', 'vessels'), 1, exclusive=True)
  leaf, (new, old, _) = map_head(both, VESSELS, {})
  assert (leaf.action, leaf.why) == (
    *('mapped', 'vessels from vessels, background zero'),
  )
  np.testing.assert_allclose(softmax(new)[:, 1], sigmoid(old)[:, 0], rtol=1e-5)


def test_classes_that_share_one_share_its_probability():
  tiled = dict.fromkeys(('red', 'bright'), 'vessels')
  _, (new, old, _) = map_head(LESIONS, VESSELS, tiled)
  probs = softmax(new)
  np.testing.assert_allclose(probs[:, 1], probs[:, 2], rtol=1e-6)
  np.testing.assert_allclose(probs[:, 1:].sum(1), sigmoid(old)[:, 0], rtol=1e-5)


def test_a_class_split_in_two_leaves_the_others_their_probability():
  four = build.Task(('background', 'bright', 'dots', 'red'), 3, exclusive=True)
  _, (new, old, _) = map_head(four, LESIONS, {'dots': 'red'})
  old, new = softmax(old), softmax(new)
  np.testing.assert_allclose(new[:, :2], old[:, [0, 2]], rtol=1e-5)
  np.testing.assert_allclose(new[:, 2:], old[:, [1, 1]] / 2, rtol=1e-5)


def test_a_softmax_of_one_class_becomes_a_sigmoid_of_the_same_probability():
  both = build.Task(('background', 'vessels'), 1, exclusive=True)
  _, (new, old, _) = map_head(VESSELS, both, {})
  np.testing.assert_allclose(sigmoid(new)[:, 0], softmax(old)[:, 1], rtol=1e-5)


def test_planes_of_sigmoids_are_taken_by_name_whatever_their_order():
  names = ('a', 'b', 'c')
  new_task = build.Task(('c', 'x', 'a', 'y'), 4, exclusive=False)
  leaf, (new, old, drawn) = map_head(
    new_task, build.Task(names, 3, exclusive=False), {'y': 'b'}
  )
  assert leaf.why == 'c from c, x fresh, a from a, y from b'
  np.testing.assert_allclose(new[:, [0, 2, 3]], old[:, [2, 0, 1]], rtol=1e-5)
  np.testing.assert_allclose(new[:, 1], drawn[:, 1], rtol=1e-5)


def test_a_class_can_be_told_to_start_fresh():
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
  ('classes', 'said'),
  [
    ({'rde': 'vessels'}, 'has rde; the classes are red, bright'),
    (
      {'red': 'veins'},
      'red is veins; the classes of the other run are vessels',
    ),
  ],
)
def test_classes_that_are_not_there_are_refused(classes, said):
  with pytest.raises(config_lib.InputError, match=said):
    transfer.map_head(LESIONS, VESSELS, classes)


def test_a_part_that_is_made_anew_can_not_be_frozen(plain):
  _, new = plain
  _, old = init(1, channels=4)
  plan = make_plan(new, old, channels=(3, 4))
  transfer.check_frozen(plan, ('decoder', 'norms', 'bottleneck'))
  with pytest.raises(
    config_lib.InputError, match='would keep down0/conv0/kernel as it was drawn'
  ):
    transfer.check_frozen(plan, ('encoder',))


def test_the_summary_has_a_line_for_all_parts_that_fare_alike(plain):
  _, new = plain
  _, old = init(1, channels=1, num_planes=2)
  plan = make_plan(new, old, channels=(3, 1))
  # Ten leaves a block: two kernels, and two norms of four.
  assert transfer.summarise(plan).splitlines() == [
    '  encoder: 9 leaves copied, 1 leaf inflated (3 channels here, 1 there)',
    '  bottleneck, decoder: 22 leaves copied',
    '  head: 2 leaves re-initialised (planes: 1 here, 2 there)',
  ]


@pytest.mark.parametrize(
  ('name', 'said'),
  [
    ('nowhere', 'holds no checkpoint'),
    ('nowhere/checkpoints/7', 'there is no such checkpoint'),
    ('nowhere/checkpoints/x', 'there is no such checkpoint'),
  ],
)
def test_a_run_that_is_not_there_is_told(tmp_path, name, said):
  with pytest.raises(config_lib.InputError, match=said):
    transfer.open_run(str(tmp_path / name))


def test_statistics_are_the_mean_of_those_of_the_batches():
  net, variables = init(0, axis_name=parallel.AXIS)
  alone = net.clone(axis_name=None)
  rng = np.random.default_rng(0)
  batches = [
    dict(image=rng.normal(i, 1 + i, (8, 8, 8, 3)).astype(np.float32))
    for i in range(3)
  ]
  found = transfer.reestimate(
    net.apply,
    variables,
    jax.random.key(0),
    lambda rng, batch: Inputs(batch['image'], None, None),
    batches,
  )
  # The model's own update, with 0.9 of the old: 10 x what it adds.
  expected = []
  run = jax.jit(
    lambda image: alone.apply(
      variables, image, train=True, mutable=['batch_stats']
    )[1]['batch_stats']
  )
  for batch in batches:
    expected.append(
      jax.tree.map(
        lambda new, old: 10 * (new - 0.9 * old),
        run(batch['image']),
        variables['batch_stats'],
      )
    )
  jax.tree.map(
    lambda x, *each: np.testing.assert_allclose(
      x, np.mean(each, axis=0), rtol=1e-3, atol=1e-4
    ),
    found,
    *expected,
  )
  # The first layer's, from the pixels: before any norm there is only a sum.
  first = [
    np.asarray(
      jax.lax.conv_general_dilated(
        batch['image'],
        variables['params']['down0']['conv0']['kernel'],
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )
    )
    for batch in batches
  ]
  norm = found['down0']['norm0']
  axes = (0, 1, 2)
  np.testing.assert_allclose(
    norm['mean'], np.mean([x.mean(axes) for x in first], 0), rtol=1e-3
  )
  np.testing.assert_allclose(
    norm['var'], np.mean([x.var(axes) for x in first], 0), rtol=1e-3
  )
