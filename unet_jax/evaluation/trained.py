"""A trained model, from a run's folder alone."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from unet_jax import build, checkpoint, errors, parallel
from unet_jax import config as config_lib
from unet_jax.data import files, labels, pipeline
from unet_jax.evaluation import counts, pictures, scores
from unet_jax.nn import unet

NUM_PICTURES = 3
MAX_WIDTH = 1600  # Of four pictures beside each other, in pixels.


class Trained(NamedTuple):
  """The averaged weights of a checkpoint, and what is needed to use them."""

  config: config_lib.ml_collections.ConfigDict
  task: build.Task
  model: unet.UNet
  variables: dict
  mean: tuple[float, ...]
  std: tuple[float, ...]
  step: int


def load(workdir: pathlib.Path, which: str = 'best') -> Trained:
  """Restores the `best` or `latest` checkpoint, or that of a step.

  Raises:
    InputError: if the folder holds no such checkpoint, or a damaged one.
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
      config.engine = 'auto'  # This machine may not be the training's.
      task = build.make_task(config, config.data.classes)
      model = build.make_model(config, task)
      target = parallel.abstract(abstract_variables(model, len(meta['mean'])))
      variables = checkpoint.restore(manager, step, {'averaged': target})
    except Exception as error:  # Each layer of orbax raises its own.
      raise errors.InputError(
        f'checkpoint {step} of {workdir} can not be read '
        f'({checkpoint.reason(error)}); try --checkpoint=latest, or another '
        f'of {", ".join(map(str, manager.all_steps()))}'
      ) from error
  return Trained(
    config,
    task,
    model,
    variables['averaged'],
    tuple(meta['mean']),
    tuple(meta['std']),
    step,
  )


def abstract_variables(model: unet.UNet, channels: int) -> dict:
  """Returns the shapes and types of a model's variables."""
  image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), image)
  return {'batch_stats': {}, **shapes}


def count_split(
  count_step: Callable,
  variables: dict,
  source: Sequence[dict],
  *,
  max_pixels: int,
) -> tuple[np.ndarray, dict[str, float]]:
  """Counts a whole split on all devices.

  Args:
    count_step: from counts.make_count_step.
    variables: of the model, on every device.
    source: the split's examples.
    max_pixels: of a batch.

  Returns:
    int64[N, K, 4] of tp, fp, fn, tn, and the mean losses, if the step has any.
  """
  batches = pipeline.eval_batches(
    source,
    max_pixels=max_pixels,
    num_devices=jax.device_count(),
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  return counts.count(count_step, variables, batches, len(source))


def evaluate(
  model: Trained, source: Sequence[dict], workdir: pathlib.Path, split: str
) -> tuple[dict[str, float], str]:
  """Scores a split on all devices.

  Args:
    model: from `load`.
    source: the split's examples.
    workdir: gets evaluation/<split>.json, and a picture of a few examples.
    split: its name.

  Returns:
    The scores by plain names, and a table, as text.
  """
  preprocess_fn = build.make_preprocess(model.task, model.mean, model.std)
  counted, _ = count_split(
    counts.make_count_step(model.model, model.task, preprocess_fn),
    model.variables,
    source,
    max_pixels=model.config.batch_size * model.config.image_size**2,
  )
  report = scores.report(
    counted, model.task.planes, model.task.num_foreground, model.step
  )
  path = workdir / 'evaluation' / f'{split}.json'
  predict_step = counts.make_predict_step(
    model.model, model.task, model.mean, model.std
  )
  panels = draw(predict_step, model.variables, source, model.task)
  if parallel.is_first():
    files.write_png(pictures.sheet(panels), path.with_suffix('.png'))
    scores.write(report, path)
  row = scores.row(counted, model.task.planes, model.task.num_foreground)
  return row, (
    f'{split} split, {len(source)} images, weights of step {model.step}\n'
    f'{scores.table(report)}\n'
    f'{scores.baseline(counted, model.task.num_foreground)}\n'
    f'written to {path}; {path.with_suffix(".png").name} shows a few'
  )


def draw(
  predict_step: Callable,
  variables: dict,
  source: Sequence[dict],
  task: build.Task,
) -> list[np.ndarray]:
  """Draws the first few examples: see pictures.panel."""
  panels = []
  for i in range(min(NUM_PICTURES, len(source))):
    image, label = source[i]['image'], source[i]['label']
    planes = predict(predict_step, variables, image, resize=0)
    void = labels.is_void(label)
    panel = pictures.panel(
      *(image, task.to_planes(label), void),
      planes[..., -task.num_foreground :],
    )
    if panel.shape[1] > MAX_WIDTH:
      panel = files.rescale(panel, MAX_WIDTH, Image.Resampling.BOX)
    panels.append(panel)
  return panels


def predict(
  predict_step: Callable, variables: dict, image: np.ndarray, resize: int
) -> np.ndarray:
  """Predicts one image of any size.

  Args:
    predict_step: from counts.make_predict_step.
    variables: of the model.
    image: uint8[H, W, C].
    resize: longer side that it is scaled to before; 0 is none.

  Returns:
    bool[H, W, K], at the image's own size.
  """
  height, width = image.shape[:2]
  scaled = image
  if resize:
    scaled = files.rescale(image, resize, Image.Resampling.BOX)
  rows, cols = scaled.shape[:2]
  padded, _ = pipeline.pad(
    scaled,
    np.zeros((rows, cols), np.uint8),
    *(
      -(-side // pipeline.ROUND_TO) * pipeline.ROUND_TO for side in (rows, cols)
    ),
  )
  planes = np.asarray(jax.device_get(predict_step(variables, padded[None])))
  planes = planes[0, :rows, :cols]
  if planes.shape[:2] == (height, width):
    return planes
  near = Image.Resampling.NEAREST
  return files.resize(planes.astype(np.uint8), (width, height), near) > 0
