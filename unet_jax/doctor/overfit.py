"""Tests whether a run can overfit two crops, and if not, finds the cause."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from unet_jax import build, defaults, parallel
from unet_jax.data import codes, labels, pipeline, sources
from unet_jax.data.checks.finding import Finding
from unet_jax.doctor.check import Check
from unet_jax.doctor.survey import Survey
from unet_jax.evaluation import predictor, scores
from unet_jax.training import setup

NUM_CROPS = 2
STEPS = 300
EVERY = 50  # Steps between two scores.
ENOUGH = 0.95  # Dice of crops that have been learnt.
STRIDE = 16  # Pixels between two candidate crops.


class Result(NamedTuple):
  """The result of training on the crops."""

  dice: float  # Mean over the foreground classes that the crops have.
  steps: int
  losses: tuple[float, ...]  # Every 50 steps.


def check(survey: Survey) -> list[Finding]:
  """Overfits two crops; if that fails, changes one setting and tries again.

  A change that succeeds shows the cause: the learning rate, or the loss. If no
  change succeeds, the data is at fault, or the model is too small.
  """
  config, classes = survey.config, survey.classes
  class_spec = build.make_classes(config, classes)
  examples = [survey.read(key) for key in choose(survey)]
  crops = [
    densest_crop(x['image'], x['label'], config.image_size, class_spec)
    for x in examples
  ]
  result = learn(config, crops, classes, survey.limits)
  names = ' and '.join(x['name'] for x in examples)
  text = (
    f'{len(crops)} crops, of {names}, reach Dice {result.dice:.3f} in '
    f'{result.steps} steps, from loss {result.losses[0]:.3g} to '
    f'{result.losses[-1]:.3g}'
  )
  if result.dice >= ENOUGH:
    return [Finding('note', 'overfit', text=f'{text}: the run can learn')]
  tried = []
  for name, settings in trials(config):
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(settings)
    other = learn(changed, crops, classes, survey.limits)
    if other.dice >= ENOUGH:
      text += f'; {name} is at fault: with another, Dice is {other.dice:.3f}'
      return [Finding('error', 'overfit', text=text, settings=settings)]
    tried.append(f'another {name.split(maxsplit=1)[1]}')
  text += f'; {" or ".join(tried)} does not help: the data is at fault'
  return [
    Finding(
      'error',
      'overfit',
      text=f'{text}, or the model is too small',
      remedy='check on the contact sheet that masks fit their images; if '
      'they do, raise config.model.width',
    )
  ]


def choose(survey: Survey) -> list[str]:
  """Returns the keys of two train images that together have most classes.

  The first has the most foreground. The second has the most of the class
  of which the first has the least.
  """
  train = [pair for pair in survey.with_label() if pair[0].split == 'train']
  counts = np.array([label.counts for _, label in train])  # [N, K]
  first = counts.sum(axis=1).argmax()
  others = counts[:, counts[first].argmin()].astype(float)
  others[first] = -1.0
  places = (first, others.argmax())[: len(train)]
  return [train[i][0].key for i in places]


def trials(config: ml_collections.ConfigDict) -> list[tuple[str, dict]]:
  """Returns each possible fault, and the settings that would fix it."""
  default = defaults.get_config()
  lr = default.optim.lr
  if 1 / 3 < config.optim.lr / lr < 3:
    lr = config.optim.lr / 10
  possible = [('the learning rate', {'optim.lr': lr})]
  loss = {
    f'loss.{key}': value
    for key, value in default.loss.items()
    if config.loss[key] != value and key != 'class_weights'
  }
  return [*possible, ('the loss', loss)] if loss else possible


def densest_crop(
  image: np.ndarray, label: np.ndarray, size: int, class_spec: labels.ClassSpec
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts the square in which the classes are most balanced.

  The square has the largest sum over the classes of f (1 - f), where f is the
  share of the square's pixels that have the class.

  Args:
    image: [H, W, C].
    label: uint8[H, W] or [H, W, K].
    size: S, side of the square.
    class_spec: what the label means.

  Returns:
    [S, S, C], and uint8[S, S] or [S, S, K].
  """
  height, width = image.shape[:2]
  image, label = pipeline.pad(image, label, max(size, height), max(size, width))
  planes = class_spec.to_planes(label)
  sums = np.pad(planes.astype(np.int64), ((1, 0), (1, 0), (0, 0)))
  sums = sums.cumsum(axis=0).cumsum(axis=1)
  inside = sums[size:] - sums[:-size]
  inside = (inside[:, size:] - inside[:, :-size])[::STRIDE, ::STRIDE]
  share = inside / size**2
  mixed = (share * (1 - share)).sum(axis=-1)
  top, left = np.unravel_index(mixed.argmax(), mixed.shape)
  window = (
    slice(top * STRIDE, top * STRIDE + size),
    slice(left * STRIDE, left * STRIDE + size),
  )
  return image[window], label[window]


def learn(
  config: ml_collections.ConfigDict,
  crops: Sequence[tuple[np.ndarray, np.ndarray]],
  classes: tuple[str, ...],
  limits: tuple[float, float] = codes.BYTES,
) -> Result:
  """Trains on the same crops at every step, with the trainer's own step.

  Args:
    config: of the run.
    crops: for each, image [S, S, C] and label uint8[S, S] or [S, S, K].
    classes: names of the foreground classes.
    limits: black and white of the images.
  """
  config = _without_variety(config)
  images = np.stack([image for image, _ in crops])
  mean = images.mean(axis=(0, 1, 2), dtype=np.float64)
  least = (limits[1] - limits[0]) / 255
  std = np.maximum(images.std(axis=(0, 1, 2), dtype=np.float64), least)
  moments = tuple(mean.tolist()), tuple(std.tolist())
  stats = sources.Stats(classes, *moments, limits=limits)
  run = setup.make_run(config, stats)
  places = np.arange(config.batch_size) % len(crops)
  batch = dict(
    image=images[places],
    label=np.stack([label for _, label in crops])[places],
    index=np.arange(config.batch_size, dtype=np.int32),
  )
  weight = (np.arange(config.batch_size) < len(crops)).astype(np.float32)
  placed = parallel.place_batch(batch)
  to_count = parallel.place_batch(batch | dict(weight=weight))
  state, losses, dice = parallel.replicate(parallel.on_host(run.init)), [], 0.0
  for step in range(1, STEPS + 1):
    state, metrics = run.train_step(state, placed)
    # XLA for CPU can deadlock if many steps of several devices are queued.
    jax.block_until_ready(metrics)
    if step % EVERY and step > 1:
      continue
    losses.append(float(jax.device_get(metrics['loss'])))
    if not math.isfinite(losses[-1]):
      return Result(0.0, step, tuple(losses))
    if step == 1:
      continue
    counted = parallel.gather(
      predictor.count_batch(run.predictor, state.averaged, to_count)
    )
    counts = counted['counts'][counted['weight'] > 0].astype(np.int64)
    num_foreground = run.predictor.classes.num_foreground
    dice = max(0.0, scores.score(counts, num_foreground))
    if dice >= ENOUGH:
      break
  return Result(dice, step, tuple(losses))


def _without_variety(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Returns the config without augmentation, for the same batch every step.

  Class weights are off, too, since the crops are chosen to have all classes.
  """
  config = config.copy_and_resolve_references()
  devices = jax.device_count()
  config.batch_size = -(-NUM_CROPS // devices) * devices
  config.total_steps = STEPS
  config.loss.class_weights = 'none'
  for key, value in config.augment.items():
    config.augment[key] = (1.0, 1.0) if key == 'zoom_range' else type(value)()
  return config


CHECKS = (
  Check(
    'overfit',
    ('error', 'note'),
    'Whether the run can overfit two crops; with --overfit.',
    check,
    'overfit',
  ),
)
