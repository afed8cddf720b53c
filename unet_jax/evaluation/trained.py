"""Loads and evaluates a trained model, from the folder of its run alone."""

import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from unet_jax import build, checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import files, sources
from unet_jax.evaluation import pictures, scores, tables, tiles
from unet_jax.evaluation import predictor as predictor_lib


class Trained(NamedTuple):
  """The averaged weights of a checkpoint, with their config and predictor."""

  config: ml_collections.ConfigDict
  predictor: predictor_lib.Predictor
  variables: dict
  step: int


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
      predictor = predictor_lib.make(config, classes, meta['mean'], meta['std'])
      shapes = abstract_variables(predictor.model, len(meta['mean']))
      targets = {'averaged': parallel.abstract(shapes)}
      trees = checkpoint.restore(manager, step, targets)
    except Exception as error:  # Each layer of orbax raises its own types.
      raise errors.InputError(
        f'checkpoint {step} of {workdir} can not be read '
        f'({checkpoint.reason(error)}); try --checkpoint=latest, or another '
        f'of {", ".join(map(str, manager.all_steps()))}'
      ) from error
  return Trained(config, predictor, trees['averaged'], step)


def with_window(model: Trained, sides: Iterable[int]) -> Trained:
  """Returns the model with the window for images of these longer sides.

  The window is that of the run; a run of an earlier version has none.
  """
  if model.predictor.window:
    return model
  window = tiles.choose(max(sides), model.config.model.depth)
  return model._replace(predictor=model.predictor._replace(window=window))


def abstract_variables(model: build.Model, channels: int) -> dict:
  """Returns the shapes and dtypes of a model's variables."""
  image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), image)
  return {'batch_stats': {}, **shapes}


def evaluate(
  model: Trained, source: sources.Examples, workdir: pathlib.Path, split: str
) -> tuple[dict[str, float], str]:
  """Scores a split on all devices.

  Args:
    model: the model, from `load`.
    source: examples of the split.
    workdir: folder for evaluation/<split>.json, and <split>.png with a few
      examples.
    split: name of the split.

  Returns:
    The scores by flat names, and a table, as text.
  """
  classes = model.predictor.classes
  sides = (max(source[i]['label'].shape[:2]) for i in range(len(source)))
  model = with_window(model, sides)
  result = predictor_lib.score_split(model.predictor, model.variables, source)
  panels = predictor_lib.draw(model.predictor, model.variables, source)
  report = scores.report(
    result.counts, classes.planes, classes.num_foreground, model.step
  )
  path = workdir / 'evaluation' / f'{split}.json'
  if parallel.is_first():
    files.write_png(pictures.sheet(panels), path.with_suffix('.png'))
    scores.write(report, path)
  return result.row, (
    f'{split} split, {len(source)} images, weights of step {model.step}\n'
    f'{tables.table(report)}\n'
    f'{tables.baseline(result.counts, classes.num_foreground)}\n'
    f'written to {path}; {path.with_suffix(".png").name} shows a few images'
  )
