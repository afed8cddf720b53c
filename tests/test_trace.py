"""Skipped steps: how they are traced and reported, and when a run must end."""

import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unet_jax import build, defaults, errors, parallel
from unet_jax.data import labels, sources
from unet_jax.nn import objective, unet
from unet_jax.training import loop, setup, trace
from unet_jax.training import monitor as monitor_lib
from unet_jax.training import step as step_lib

CLASSES = labels.ClassSpec(('background', 'a'), 1, exclusive=True)
LOSS = defaults.get_config().loss.to_dict()
BAD_TARGET, BAD_WEIGHT = 7, 8  # Label values at which the tests plant NaN.
NAMES = dict(enumerate('pqrs'))


def preprocess_fn(image, label):
  """Standardises each image by itself; a constant image gives 0 / 0."""
  inputs = build.make_preprocess(CLASSES, (128.0,) * 3, (64.0,) * 3)(
    image, label
  )
  spread = inputs.image.std(axis=(1, 2, 3), keepdims=True)
  centre = inputs.image.mean(axis=(1, 2, 3), keepdims=True)
  target = jnp.where((label == BAD_TARGET)[..., None], jnp.nan, inputs.target)
  weight = jnp.where(label == BAD_WEIGHT, jnp.nan, inputs.weight)
  return inputs._replace(
    image=(inputs.image - centre) / spread, target=target, weight=weight
  )


def make_batch(first=0):
  rng = np.random.default_rng(first)
  return dict(
    image=rng.integers(0, 256, (4, 16, 16, 3), np.uint8),
    label=rng.integers(0, 2, (4, 16, 16), np.uint8),
    index=np.arange(4, dtype=np.int32),
  )


def bad_batch(place, value):
  batch = make_batch()
  batch[place][2] = value
  return batch


@pytest.fixture(scope='module')
def made():
  """Makes the first state, on every device, and both steps, mapped."""
  model = unet.UNet(num_planes=2, depth=1, width=4, axis_name=parallel.AXIS)
  schedule = optax.linear_schedule(0.1, 0.0, 100)
  shared = dict(
    augment_fn=lambda rng, image, label: (image, label),
    preprocess_fn=preprocess_fn,
    loss_of=objective.make_loss(exclusive=True, **LOSS),
    axis_name=parallel.AXIS,
  )

  @jax.jit
  def init():
    variables = model.init(
      jax.random.key(0, impl='rbg'), jnp.zeros((1, 4, 4, 3))
    )
    return step_lib.init_state(
      model.apply, variables, optax.adam(schedule), jax.random.key(1)
    )

  step = functools.partial(
    step_lib.train_step, **shared, schedule=schedule, ema=0.9, exclusive=True
  )
  traced = functools.partial(trace.trace_step, **shared, apply_fn=model.apply)
  return types.SimpleNamespace(
    state=parallel.replicate(init()),
    step=parallel.map_step(step),
    traced=parallel.map_step(traced),
    model=model,
    shared=shared,
  )


def explain(made, state, batch):
  traced = made.traced(state, parallel.place_batch(batch))
  return trace.explain(jax.device_get(traced), NAMES)


def with_weight(state, block, layer, value):
  """Sets one value of a kernel."""
  params = jax.tree.map(lambda x: x, state.params)
  where = params[block][layer] if layer else params[block]
  where['kernel'] = where['kernel'].at[0, 0, 0, 0].set(value)
  return parallel.replicate(state.replace(params=params))


@pytest.mark.parametrize(
  'fault', [('image', 0), ('label', BAD_TARGET), ('label', BAD_WEIGHT)]
)
def test_a_skipped_step_changes_only_counters(made, fault):
  good, _ = made.step(made.state, parallel.place_batch(make_batch()))
  after, metrics = made.step(good, parallel.place_batch(bad_batch(*fault)))
  assert metrics['skipped'] == 1
  assert good.step == 1
  assert after.step == 2
  for old, new in zip(*map(jax.tree.leaves, (good, after)), strict=True):
    if jnp.issubdtype(old.dtype, jnp.floating):
      np.testing.assert_array_equal(old, new)
  # The counts of Adam and of the schedule, which gives the learning rate.
  counts = optax.tree.get_all_with_path(after.opt_state, 'count')
  assert [int(count) for _, count in counts] == [2, 2]
  assert all(metrics[f'update_ratio_{x}'] == 0 for x in ('encoder', 'head'))
  again, metrics = made.step(after, parallel.place_batch(make_batch(1)))
  assert metrics['skipped'] == 0
  assert metrics['learning_rate'] == pytest.approx(0.1 * 98 / 100)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(again.params))


def test_norms_and_ratios_are_computed_for_each_part(made):
  new, metrics = made.step(made.state, parallel.place_batch(make_batch()))
  whole = []
  for part, blocks in dict(
    encoder=('down0',), bottleneck=('bottleneck',), head=('head',),
    decoder=('up0', 'merge0'),
  ).items():  # fmt: skip
    old = [made.state.params[block] for block in blocks]
    moved = jax.tree.map(np.subtract, [new.params[b] for b in blocks], old)

    def norm(tree):
      return np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(tree)))

    np.testing.assert_allclose(
      metrics[f'update_ratio_{part}'], norm(moved) / norm(old), rtol=1e-4
    )
    whole.append(metrics[f'grad_norm_{part}'])
  np.testing.assert_allclose(
    metrics['grad_norm'], np.linalg.norm(whole), rtol=1e-5
  )


def test_a_planted_weight_is_named(made):
  state = with_weight(made.state, 'down0', 'conv1', jnp.nan)
  assert explain(made, state, make_batch()) == (
    'the weight down0/conv1/kernel is not finite before the step'
  )


@pytest.mark.parametrize(
  ('place', 'value', 'named'),
  [
    ('image', 0, 'image'),
    ('label', BAD_TARGET, 'target'),
    ('label', BAD_WEIGHT, 'weight'),
  ],
)
def test_a_planted_input_is_named_with_its_image(made, place, value, named):
  assert explain(made, made.state, bad_batch(place, value)) == (
    f'the preprocessed {named} is not finite, for r'
  )


@pytest.mark.parametrize(
  ('block', 'layer'),
  [('down0', 'conv0'), ('bottleneck', 'conv1'), ('up0', ''), ('head', '')],
)
def test_the_first_layer_that_overflows_is_named(made, block, layer):
  state = with_weight(made.state, block, layer, 3e38)
  text = explain(made, state, make_batch())
  name = f'{block}/{layer}'.rstrip('/')
  assert text.startswith(f'the first layer that is not finite is {name}, for ')
  assert text.endswith('every image (p, q, r, s)')


def test_layers_are_traced_while_blocks_are_unfrozen_one_by_one(made):
  traced_step = functools.partial(
    trace.trace_step,
    **made.shared | dict(axis_name=None),
    apply_fn=made.model.clone(axis_name=None).apply,
    stages=((0, ('encoder',)), (5, ())),
  )
  state = with_weight(made.state, 'down0', 'conv1', 3e38)
  traced = jax.device_get(jax.jit(traced_step)(state, make_batch()))
  assert trace.explain(traced, NAMES).startswith(
    'the first layer that is not finite is down0/conv1, for '
  )
  # A frozen norm is one of the layers.
  assert any(name.endswith('down0/norm1') for name in traced['layers'])


def test_a_gradient_that_is_not_finite_behind_a_finite_loss_is_named(made):
  def loss_of(logits, target, weight, axis_name=None):
    term = jnp.sqrt(
      0.0 * jnp.sum(logits)
    )  # The value is 0; the gradient is 0 / 0.
    return term, {'root': term}

  traced_step = functools.partial(
    trace.trace_step,
    **made.shared | dict(loss_of=loss_of, axis_name=None),
    apply_fn=made.model.clone(axis_name=None).apply,
  )
  traced = jax.device_get(jax.jit(traced_step)(made.state, make_batch()))
  assert traced['terms']['root']
  text = trace.explain(traced, NAMES)
  assert text == (
    'the gradient of head/kernel is not finite, though the loss is'
  ) or text.startswith('the gradient of head/bias')
  traced['terms']['root'] = np.False_
  assert 'loss term root is not finite' in trace.explain(traced, NAMES)


def test_a_replayed_step_that_is_finite_is_reported_as_such(made):
  assert 'the weights have changed' in explain(made, made.state, make_batch())


def run_loop(load_config, monkeypatch, flat, num, steps):
  """Trains on `num` examples; the first `flat` of them are constant images."""
  config = load_config('binary:tiny', total_steps=steps, eval_every=steps)
  config.update(batch_size=4, image_size=16, save_every=5)
  config.model.update(depth=1)
  config.optim.warmup = 0.0
  rng = np.random.default_rng(0)
  examples = [
    dict(
      name='flat' if i < flat else f'im{i}',
      image=rng.integers(0, 256, (16, 16, 3), np.uint8) * np.uint8(i >= flat),
      label=rng.integers(0, 2, (16, 16), np.uint8),
    )
    for i in range(num)
  ]
  stats = sources.Stats(('vessels',), (0.0,) * 3, (1.0,) * 3)
  dataset = sources.Dataset({'train': examples}, stats)
  make_preprocess = build.make_preprocess

  def planted(classes, *moments):
    def preprocess_fn(image, label):
      inputs = make_preprocess(classes, *moments)(image, label)
      axes = dict(axis=(1, 2, 3), keepdims=True)
      is_flat = jnp.max(image, **axes) == jnp.min(image, **axes)
      return inputs._replace(image=jnp.where(is_flat, jnp.nan, inputs.image))

    return preprocess_fn

  monkeypatch.setattr(build, 'make_preprocess', planted)
  run = setup.make_run(config, stats)
  said, saved = [], []

  def save(_, step, trees, meta, score):
    weights = (trees['averaged'], trees['state']['params'])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(weights))
    assert meta['watch']['num_steps'] == step
    saved.append(step)

  monkeypatch.setattr(loop.checkpoint, 'save', save)
  log = types.SimpleNamespace(
    write=lambda *args: None,
    warn=lambda step, text: said.append((step, text)),
  )
  monitor = monitor_lib.Monitor()
  state = parallel.replicate(run.init())
  try:
    loop.train(
      *(config, dataset, run, state),
      steps_done=0,
      monitor=monitor,
      manager=None,
      log=log,
    )
    error = ''
  except errors.InputError as raised:
    error = str(raised)
  return error, said, saved, monitor


def test_a_bad_image_is_skipped_and_named(load_config, monkeypatch):
  error, said, saved, monitor = run_loop(load_config, monkeypatch, 1, 8, 20)
  assert not error
  # Each of four reviews sees it in 2 or 3 of 5 batches, and one reports it.
  (step, text), *more = said
  assert not more
  assert step == 5
  assert text.startswith('skipped ')
  assert text.endswith('the preprocessed image is not finite, for flat')
  assert monitor.num_skipped < monitor_lib.SKIPPED_STEPS
  assert saved == [5, 10, 15, 20]


def test_too_many_skips_end_the_run_with_the_report(load_config, monkeypatch):
  error, said, saved, _ = run_loop(load_config, monkeypatch, 1, 4, 40)
  assert error.startswith(
    'steps 1 to 10 had to be skipped: in step 1, the preprocessed image is not '
    'finite, for flat; '
  )
  assert 'config.optim.lr' in error
  assert '\n' not in error
  assert saved == [5]
  assert len(said) == 1
  assert said[0][0] == 5
  assert said[0][1].startswith('skipped 5 of the last 5 steps ')


def test_skipped_steps_are_reported_again_when_the_fault_changes():
  monitor = monitor_lib.Monitor()
  lines = []
  for step, fault in enumerate(['of a', 'of a', 'of b', 'of b', 'of a'], 1):
    monitor.where = f'in step {step}, the weights {fault}'
    lines += monitor.report_skipped(1, 10)
  assert [line.partition(': ')[2] for line in lines] == [
    'in step 1, the weights of a',
    'in step 3, the weights of b',
    'in step 5, the weights of a',
  ]


def added(losses, skipped=0):
  monitor = monitor_lib.Monitor()
  for loss in losses:
    monitor.add(loss, skipped, np.zeros((2, 6), np.float32))
  return monitor


METRICS = dict(
  loss=9e9,
  update_ratio_encoder=0.5,
  update_ratio_head=2.0,
)


@pytest.mark.parametrize('diverged', [1e3, float('inf'), float('nan')])
def test_twenty_diverged_losses_end_a_run(diverged):
  usual = [2.0, 1.5, 1.0, 1.2] * 5
  assert not added(usual + [diverged] * 19).why_lost(39, METRICS, 100, lr=9.0)
  reason = added(usual + [diverged] * 20).why_lost(40, METRICS, 100, lr=9.0)
  assert 'the head changes most, by 2 of its norm a step' in reason
  assert 'over 100 times the initial loss of 1 for 20 steps' in reason
  # The rate that was set, not that of the step, which the warm-up lowers.
  assert 'lower config.optim.lr (now 9; 0.002 is usual)' in reason
  again = added(usual + [diverged] * 19 + [1.0] + [diverged] * 19)
  assert not again.why_lost(59, METRICS, 100, lr=9.0)


def test_losses_that_begin_near_zero_or_below_have_not_diverged():
  for first in (1e-4, 0.0, -0.9):
    monitor = added([first] * 10 + [2.0] * 40)
    assert not monitor.why_lost(50, METRICS, 100, lr=9.0)


def test_a_loss_that_diverges_at_once_is_compared_with_the_first():
  assert added([2.0] + [1e6] * 20).why_lost(21, METRICS, 100, lr=9.0)


def test_a_short_run_ends_when_half_of_it_was_skipped():
  monitor = added([np.nan] * 2, skipped=1)
  assert monitor.why_lost(4, METRICS, 4, lr=9.0)
  assert not monitor.why_lost(4, METRICS, 100, lr=9.0)


def reports_of_hardly_moving(ratio, total_steps):
  """Returns [(step, line)] of a run whose weights move by `ratio` a step."""
  monitor, lines = monitor_lib.Monitor(), []
  for step in range(1, total_steps + 1):
    monitor.add(1.0, 0, np.zeros((2, 6), np.float32))
    metrics = METRICS | dict(update_ratio_encoder=0.0, update_ratio_head=ratio)
    lines += [
      (step, line)
      for line in monitor.report_still(metrics, total_steps, lr=1e-7)
    ]
  return lines


def test_weights_that_hardly_move_are_reported_once_after_the_warm_up():
  # A learning rate of 1e-7 gives such ratios: 50 steps of 5e-7 are 2.5e-5.
  ((step, line),) = reports_of_hardly_moving(5e-7, 120)
  assert step == 50
  assert 'hardly move: by at most 2e-05 of their norm in 50 steps' in line
  assert 'raise config.optim.lr (now 1e-07; 0.002 is usual)' in line
  ((step, _),) = reports_of_hardly_moving(5e-7, 400)
  assert step == 100  # A quarter of the run.
  assert not reports_of_hardly_moving(3e-4, 400)  # 3 %.
  assert not reports_of_hardly_moving(0.0, 400)  # Skipped steps move nothing.
  assert not reports_of_hardly_moving(5e-7, 20)  # The run is too short.


def test_a_remedy_names_the_usual_rate_only_where_it_leads_there():
  monitor = added([2.0] + [1e6] * 20)
  for lr in (2e-3, 1e-4):
    reason = monitor.why_lost(21, METRICS, 100, lr)
    assert f'lower config.optim.lr (now {lr:g}) and start over' in reason


def test_a_monitor_survives_its_checkpoint_as_json():
  monitor = added([2.0, np.nan, 3.0])
  monitor.score(0.5)
  monitor.where = 'in step 2, the loss is not finite'
  again = through_json(monitor)
  for each in (monitor, again):
    each.add(1.0, 1, np.ones((2, 6), np.float32))
    each.score(0.25)
  assert again == monitor
  assert through_json(monitor_lib.Monitor()) == monitor_lib.Monitor()
  assert monitor_lib.restore({}) == monitor_lib.Monitor()


def through_json(monitor):
  return monitor_lib.restore(json.loads(json.dumps(monitor.to_meta())))


def test_the_monitor_of_an_old_checkpoint_is_restored():
  saved = {
    'watch': {
      **{'num_steps': 20, 'first_loss': 1.5, 'num_lost': 1, 'num_skipped': 2},
      **{'where': 'in step 19, x', 'told': 'x', 'largest_update': 0.25},
      **{'is_still': False, 'planes': [[[0.5] * 6]], 'silent': [3]},
      **{'states': ['learning'], 'smoothed': 0.5, 'best': 0.75, 'num_worse': 1},
    }
  }
  assert monitor_lib.restore(saved).to_meta() == saved


def test_early_stopping_counts_evaluations_without_a_new_smoothed_best():
  monitor = monitor_lib.Monitor()
  history = []
  for score in (0.1, 0.5, 0.4, 0.2, 0.1, 0.9):
    monitor.score(score)
    history.append((round(monitor.smoothed, 3), monitor.num_worse))
  # Worked by hand: half the last smoothed score plus half the new score.
  assert history == [
    *((0.1, 0), (0.3, 0), (0.35, 0), (0.275, 1), (0.188, 2), (0.544, 0)),
  ]
