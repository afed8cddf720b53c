"""Loads a trained model, from the folder of its run alone."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from unet_jax import build, checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import codes, image_kinds
from unet_jax.evaluation import decisions, thresholds, tiles
from unet_jax.evaluation import predictor as predictor_lib


class Trained(NamedTuple):
  """The averaged weights of one or several checkpoints, and how they predict.

  Of several, `config`, `step` and the predictor's classes are the first's, and
  `variables` the weights of each; see averaging.average.
  """

  config: ml_collections.ConfigDict
  predictor: predictor_lib.Predictor
  variables: Any
  step: int
  folders: tuple[pathlib.Path, ...]  # Of the runs, one a checkpoint.
  rule: decisions.Rule = decisions.PLAIN  # How its logits become masks.
  augment: tuple[str, ...] = ()  # The views over which it averages.
  members: tuple[str, ...] = ()  # Names of the checkpoints, if several.
  kind: image_kinds.Kind = image_kinds.RGB  # Of the training images.

  def weights(self) -> list[str]:
    """Returns what names the weights, within the folder of the run."""
    return list(self.members) or [name_step(self.step)]

  def averages(self) -> list[str]:
    """Returns a word for each kind of thing over which it averages."""
    return [*(['ensemble'] if self.members else []), *self.augment]

  def options(self) -> dict:
    """Returns what decides masks beside the run's config: {} if it is usual."""
    given = {
      'weights': list(self.members),
      'augment': list(self.augment),
      'thresholds': list(self.rule.thresholds),
      'smallest_component': self.rule.smallest,
    }
    return {key: value for key, value in given.items() if value}

  def tag(self) -> str:
    """Returns what the options add to the name of an evaluation's files."""
    words = self.averages()
    words += ['thresholds'] if self.rule.thresholds else []
    words += [f'min{self.rule.smallest}'] if self.rule.smallest else []
    return ''.join(f'_{word}' for word in words)


def name_step(step: int) -> str:
  """Returns the name of a checkpoint's weights within the folder of its run."""
  return f'step {step}'


def load(workdir: pathlib.Path, which: str = 'best') -> Trained:
  """Restores the `best` or `latest` checkpoint, or the checkpoint of a step.

  Raises:
    InputError: if the folder has no such checkpoint, or it is damaged.
  """
  if not (workdir / checkpoint.FOLDER).is_dir():
    raise errors.InputError(
      f'{workdir} holds no checkpoint; give the folder of a run, '
      f'with {checkpoint.FOLDER} in it'
    )
  with checkpoint.make_manager(
    workdir, has_scores=True, read_only=True
  ) as manager:
    step = checkpoint.find_step(manager, which)
    try:
      meta = checkpoint.restore_meta(manager, step)
      config = config_lib.from_dict(meta['config'])
      config.engine = 'auto'  # This may not be the machine that trained.
      classes = build.make_classes(config, config.data.classes)
      kind, limits = images_of(meta, config)
      predictor = predictor_lib.make(
        *(config, classes, meta['mean'], meta['std']), limits=limits
      )
      shapes = abstract_variables(predictor.model, len(meta['mean']))
      targets = {'averaged': parallel.abstract(shapes)}
      trees = checkpoint.restore(manager, step, targets)
    except Exception as error:  # Each layer of orbax raises its own types.
      raise errors.InputError(
        f'checkpoint {step} of {workdir} cannot be read '
        f'({checkpoint.reason(error)}); it has the steps '
        f'{", ".join(map(str, manager.all_steps()))}: evaluate and predict '
        'take another by --checkpoint=STEP, training starts from another by '
        f'--init_from={workdir / checkpoint.FOLDER}/STEP'
      ) from error
  return Trained(
    *(config, predictor, trees['averaged'], step, (workdir,)), kind=kind
  )


def images_of(
  meta: dict, config: ml_collections.ConfigDict
) -> tuple[image_kinds.Kind, Sequence[float]]:
  """Returns the kind of a run's images, and their black and white.

  Images had 8 bits in runs of an earlier version, which saved neither.
  """
  if 'kind' in meta:
    return image_kinds.from_json(meta['kind']), meta['limits']
  channels = 3 if config.data.channels == 'green' else len(meta['mean'])
  return image_kinds.Kind(parts=(('', channels),)), codes.BYTES


def with_window(model: Trained, sides: Iterable[int]) -> Trained:
  """Returns the model with the window for images of these longer sides.

  The window is that of the run; a run of an earlier version has none.
  """
  if model.predictor.window:
    return model
  window = tiles.choose(max(sides), model.config.model.depth)
  return model._replace(predictor=model.predictor._replace(window=window))


def with_thresholds(model: Trained, saved: dict) -> Trained:
  """Returns the model with thresholds; see thresholds.choose."""
  logits = thresholds.logits(saved)
  return model._replace(rule=model.rule._replace(thresholds=logits))


def with_smallest(model: Trained, smallest: int) -> Trained:
  """Returns the model without the components of fewer pixels.

  Raises:
    InputError: if the classes lack the background that they would become.
  """
  classes = model.predictor.classes
  has_background = len(classes.planes) > classes.num_foreground
  if smallest and classes.exclusive and not has_background:
    raise errors.InputError(
      '--smallest_component: what is removed would become background, and the '
      'run has none (config.data.background); leave the flag out'
    )
  return model._replace(rule=model.rule._replace(smallest=smallest))


def abstract_variables(model: build.Model, channels: int) -> dict:
  """Returns the shapes and dtypes of a model's variables."""
  image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), image)
  return {'batch_stats': {}, **shapes}
