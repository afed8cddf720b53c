"""Parts of a model, frozen and unfrozen; a batch in chunks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax import build, checkpoint, defaults, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import labels
from unet_jax.nn import objective, unet
from unet_jax.training import optimizer, parts, resume
from unet_jax.training import step as step_lib

CLASSES = labels.ClassSpec(('background', 'a'), 1, exclusive=True)
LOSS = defaults.get_config().loss.to_dict()
ENCODER = ('encoder', 'bottleneck')


@pytest.mark.parametrize(
  ('path', 'named', 'others'),
  [
    ('down1/conv0/kernel', ('encoder', 'down1'), ('down0', 'norms', 'decoder')),
    ('up0/bias', ('decoder', 'up0'), ('merge0', 'encoder')),
    ('merge0/norm1/scale', ('decoder', 'merge0', 'norms'), ('head',)),
    ('bottleneck/norm0/bias', ('bottleneck', 'norms'), ('encoder', 'decoder')),
    ('head/kernel', ('head',), ('norms', 'decoder')),
  ],
)
def test_a_leaf_is_in_its_parts_alone(path, named, others):
  for name in named:
    assert parts.is_in(path, (name,)), name
  assert not parts.is_in(path, others)


def test_distance_counts_levels_from_the_head():
  blocks = ('head', 'up0', 'merge0', 'merge1', 'bottleneck', 'down1', 'down0')
  assert [parts.distance(block, 2) for block in blocks] == [0, 1, 1, 2, 3, 4, 5]


def test_parts_are_unfrozen_one_by_one_from_the_last():
  assert parts.stages(('a', 'b'), 0.0, 10) == ((0, ('a', 'b')),)
  assert parts.stages(('a', 'b'), 0.5, 10) == (
    *((0, ('a', 'b')), (3, ('a',)), (5, ())),
  )
  assert parts.stages((), 0.5, 10) == ((0, ()),)


def settings(**values):
  return config_lib.from_dict(dict(freeze=(), unfreeze=0.0) | values)


def test_unknown_parts_are_refused_and_the_known_ones_listed():
  parts.check(settings(freeze=('encoder', 'down1', 'norms')), depth=2)
  with pytest.raises(errors.InputError, match="'down2'.* down0, down1"):
    parts.check(settings(freeze=('down2',)), depth=2)


def test_freezing_everything_or_random_weights_is_refused():
  everything = ('encoder', 'bottleneck', 'decoder', 'head')
  with pytest.raises(errors.InputError, match='nothing to train'):
    parts.check(settings(freeze=everything), depth=2)
  parts.check(settings(freeze=everything, unfreeze=0.5), depth=2)
  with pytest.raises(errors.InputError, match='with --init_from=RUN'):
    parts.check_cold(settings(freeze=('encoder',)))


def make_batch(index, size=4):
  rng = np.random.default_rng(index)
  return dict(
    image=rng.integers(0, 256, (size, 8, 8, 3), np.uint8),
    label=rng.integers(0, 2, (size, 8, 8), np.uint8),
    index=np.arange(size * index, size * (index + 1), dtype=np.int32),
  )


def make(
  freeze=(),
  unfreeze=0.0,
  name='adam',
  accumulate=1,
  axis_name=None,
  per_image=False,
  **model,
):
  """Returns the state before step 1, and its step, not compiled."""
  net = unet.UNet(num_planes=2, depth=1, width=4, axis_name=axis_name, **model)
  stages = parts.stages(freeze, unfreeze, 4)
  tx = optimizer.make_optimizer(
    optax.constant_schedule(0.1), name=name, stages=stages
  )
  step = functools.partial(
    step_lib.train_step,
    augment_fn=lambda rng, image, label: (image, label),
    preprocess_fn=build.make_preprocess(CLASSES, (128.0,) * 3, (64.0,) * 3),
    loss_of=objective.make_loss(
      exclusive=True, **(LOSS | dict(per_image=per_image))
    ),
    schedule=optax.constant_schedule(0.1),
    ema=0.5,
    exclusive=True,
    accumulate=accumulate,
    stages=stages,
    axis_name=axis_name,
  )

  @jax.jit
  def init():
    variables = net.init(jax.random.key(0, impl='rbg'), jnp.zeros((1, 4, 4, 3)))
    return step_lib.init_state(net.apply, variables, tx, jax.random.key(1))

  return init(), step


def trees(state):
  """Returns {path: array} of parameters, batch_stats and averages."""
  flat, _ = jax.tree_util.tree_flatten_with_path(
    jax.device_get((state.params, state.batch_stats, state.averaged))
  )
  return {jax.tree_util.keystr(path): x for path, x in flat}


def changed(old, new):
  return {k.replace("['", '/') for k in old if np.any(old[k] != new[k])}


@pytest.fixture(scope='module')
def frozen():
  """Runs three steps with a frozen encoder: states before and after, step."""
  state, step = make(freeze=ENCODER)
  # Another run has left statistics other than 0 and 1.
  state = state.replace(
    batch_stats=jax.tree.map(lambda x: x - 0.1, state.batch_stats)
  )
  averaged = {'params': state.params, 'batch_stats': state.batch_stats}
  state = state.replace(averaged=jax.tree.map(jnp.copy, averaged))
  compiled = jax.jit(step).lower(state, make_batch(0)).compile()
  before = state
  for i in range(3):
    state, _ = compiled(state, make_batch(i))
  return before, state, compiled


def test_frozen_leaves_and_statistics_and_averages_stay_to_the_bit(frozen):
  before, after, _ = frozen
  different = changed(trees(before), trees(after))
  for path in trees(before):
    name = path.replace("['", '/')
    is_frozen = any(part in path for part in ('down0', 'bottleneck'))
    assert (name in different) != is_frozen, name


def test_frozen_parts_cost_no_optimizer_memory(frozen):
  before, _, _ = frozen
  trained = parts.split(before.params, ENCODER)
  moments = [x for x in jax.tree.leaves(before.opt_state) if x.ndim]
  assert len(moments) == 2 * len(jax.tree.leaves(trained))
  assert len(jax.tree.leaves(trained)) < len(jax.tree.leaves(before.params))


def test_frozen_parts_cost_no_gradient(frozen):
  state, _, compiled = frozen
  step = make()[1]
  whole = jax.jit(step).lower(make()[0], make_batch(0)).compile()

  def count(program):
    return program.as_text().count(' convolution(')

  # The four frozen convolutions have no gradient of the kernel, and three have
  # none of the input; the first has no such gradient anyway.
  assert count(whole) - count(compiled) == 4 + 3


@pytest.mark.parametrize('engine', ['xla', 'native'])
def test_frozen_norms_use_their_statistics_and_pass_the_gradient(engine):
  model = unet.UNet(num_planes=2, depth=1, width=4, engine=engine)
  image = jnp.asarray(
    np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32
  )
  variables = jax.jit(model.init)(jax.random.key(0, impl='rbg'), image)
  variables['batch_stats'] = jax.tree.map(
    lambda x: x - 0.1, variables['batch_stats']
  )
  blocks = parts.frozen_blocks(variables['params'], ('norms',))

  def total(params, reference):
    inputs = {'params': params, 'batch_stats': variables['batch_stats']}
    if reference:
      return jnp.sum(jnp.sin(reference.apply(inputs, image))), inputs
    logits, updated = model.apply(
      inputs, image, train=True, frozen=blocks, mutable=['batch_stats']
    )
    return jnp.sum(jnp.sin(logits)), updated

  grad = jax.grad(total, has_aux=True)
  grads, updated = grad(variables['params'], None)
  expected, _ = grad(variables['params'], model.clone(engine='xla'))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
    grads,
    expected,
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    updated['batch_stats'],
    variables['batch_stats'],
  )


def test_gradients_through_fixed_statistics_are_those_of_autodiff():
  from unet_jax.nn import norm

  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 3, 3, 4)), jnp.float32)
  factor, offset = jnp.asarray(rng.normal(size=(2, 4)), jnp.float32)

  def plain(x, factor, offset):
    wide = (None, None, None, slice(None))
    return jnp.sum(jnp.sin(jax.nn.relu(x * factor[wide] + offset[wide])))

  expected = jax.grad(plain, (0, 1, 2))(x, factor, offset)
  for engine in ('xla', 'native'):
    grads = jax.grad(
      lambda *args, e=engine: jnp.sum(jnp.sin(norm.affine_relu(*args, e))),
      (0, 1, 2),
    )(x, factor, offset)
    for a, b in zip(grads, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_part_is_unfrozen_at_its_step_and_not_before(tmp_path):
  # The bottleneck trains from step 2 of 4, the encoder from step 3.
  state, step = make(freeze=ENCODER, unfreeze=0.5, axis_name=parallel.AXIS)
  state, run = parallel.replicate(state), parallel.map_step(step)
  states = [state]
  for i in range(4):
    state, _ = run(state, parallel.place_batch(make_batch(i)))
    states.append(state)
  history = [trees(state) for state in states]
  for i, (old, new) in enumerate(itertools.pairwise(history)):
    different = changed(old, new)
    for part, start in (('down0', 2), ('bottleneck', 1), ('head', 0)):
      assert any(part in name for name in different) == (i >= start), (i, part)
  # A run that is saved and restored continues with the same bits.
  with checkpoint.make_manager(tmp_path, has_scores=False) as manager:
    checkpoint.save(manager, 2, resume.to_save(states[2]), {}, None)
    manager.wait_until_finished()
    abstract = parallel.abstract(resume.to_save(states[0]))
    _, restored = checkpoint.restore_latest(manager, abstract)
  state = resume.with_saved(states[0], restored)
  for i in (2, 3):
    state, _ = run(state, parallel.place_batch(make_batch(i)))
  assert not changed(trees(state), history[-1])


@pytest.mark.parametrize(
  ('norm', 'per_image'), [('group', False), ('none', True)]
)
def test_a_batch_in_chunks_is_the_whole_batch_in_less_memory(norm, per_image):
  batch = make_batch(0, size=16)
  results = []
  for chunks in (1, 4):
    # A step of SGD shows the gradients; Adam would rescale them.
    state, step = make(
      name='sgd', accumulate=chunks, norm=norm, per_image=per_image
    )
    compiled = jax.jit(step).lower(state, batch).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes
    state, metrics = compiled(state, batch)
    results.append((trees(state), jax.device_get(metrics), memory))
  (expected, metrics, memory), (arrays, other_metrics, less_memory) = results
  for name, value in metrics.items():
    np.testing.assert_allclose(other_metrics[name], value, rtol=1e-5)
  for path, value in expected.items():
    np.testing.assert_allclose(arrays[path], value, atol=1e-5, err_msg=path)
  assert less_memory < 0.6 * memory
