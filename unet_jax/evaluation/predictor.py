"""A model for evaluation: its description and its two compiled functions."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
from PIL import Image

from unet_jax import build, compiler, parallel
from unet_jax.data import files, labels, pipeline, sources
from unet_jax.evaluation import counts, pictures, scores
from unet_jax.nn import preprocess

NUM_PICTURES = 3
MAX_WIDTH = 1600  # Pixels; width of a panel of four pictures.


class Predictor(NamedTuple):
  """A model without weights; its functions compile at their first call.

  Attributes:
    classes: classes of the planes of the logits.
    model: the model; its input is an image normalised by `mean` and `std`.
    mean: per-channel mean of the training images, in [0, 255].
    std: per-channel standard deviation of the training images.
    max_pixels: largest number of pixels of an evaluation batch; that of a
      training batch.
    count: (variables, batch) -> the dict of counts.count_step, over all
      devices.
    predict: (variables, image uint8[B, H, W, C]) -> bool[B, H, W, K]; H and W
      are multiples of pipeline.ROUND_TO.
  """

  classes: labels.ClassSpec
  model: build.Model
  mean: tuple[float, ...]
  std: tuple[float, ...]
  max_pixels: int
  count: jax.stages.Wrapped
  predict: jax.stages.Wrapped


class SplitScores(NamedTuple):
  """Counts, losses and scores of a split."""

  counts: np.ndarray  # int64[N, K, 4] of tp, fp, fn, tn, in the split's order.
  losses: dict[str, float]  # Means over the images; {} without a loss.
  row: dict[str, float]  # Pooled scores by name, from scores.row.


def make(
  config: ml_collections.ConfigDict,
  classes: labels.ClassSpec,
  mean: Sequence[float],
  std: Sequence[float],
  *,
  loss_of: Callable | None = None,
) -> Predictor:
  """Builds a model and the functions that evaluate it.

  Args:
    config: config of the run.
    classes: classes from build.make_classes.
    mean: per-channel mean of the training images, in [0, 255].
    std: per-channel standard deviation of the training images.
    loss_of: (logits, target, weight) -> the loss and its terms, which `count`
      then computes for each image; optional.
  """
  model = build.make_model(config, classes)
  apply_fn: Callable = model.apply
  count = functools.partial(
    counts.count_step,
    apply_fn=apply_fn,
    preprocess_fn=build.make_preprocess(classes, mean, std),
    exclusive=classes.exclusive,
    loss_of=loss_of,
    axis_name=parallel.AXIS,
  )

  def predict(variables: dict, image: jax.Array) -> jax.Array:
    logits = apply_fn(variables, preprocess.normalise(image, mean, std))
    return counts.predicted_planes(logits, exclusive=classes.exclusive)

  return Predictor(
    classes=classes,
    model=model,
    mean=tuple(mean),
    std=tuple(std),
    max_pixels=config.batch_size * config.image_size**2,
    count=parallel.map_step(count),
    predict=jax.jit(predict, compiler_options=compiler.options()),
  )


def count_split(
  predictor: Predictor, variables: dict, source: sources.Examples
) -> tuple[np.ndarray, dict[str, float]]:
  """Counts a split on all devices.

  Args:
    predictor: the predictor, from `make`.
    variables: variables of the model, on every device.
    source: examples of the split.

  Returns:
    int64[N, K, 4] of tp, fp, fn, tn, and the mean losses; {} without a loss.
  """
  batches = pipeline.eval_batches(
    source,
    max_pixels=predictor.max_pixels,
    num_devices=jax.device_count(),
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  return counts.count(predictor.count, variables, batches, len(source))


def score_split(
  predictor: Predictor, variables: dict, source: sources.Examples
) -> SplitScores:
  """Scores a split on all devices; takes the arguments of `count_split`."""
  confusion, losses = count_split(predictor, variables, source)
  classes = predictor.classes
  row = scores.row(confusion, classes.planes, classes.num_foreground)
  return SplitScores(confusion, losses, row)


def draw(
  predictor: Predictor, variables: dict, source: sources.Examples
) -> list[np.ndarray]:
  """Draws a panel, uint8[H, W, 3], for each of the first examples.

  pictures.panel describes the panels.
  """
  classes, panels = predictor.classes, []
  for i in range(min(NUM_PICTURES, len(source))):
    image, label = source[i]['image'], source[i]['label']
    planes = predict(predictor, variables, image)
    void = labels.is_void(label)
    panel = pictures.panel(
      image,
      truth=classes.to_planes(label),
      void=void,
      pred=planes[..., -classes.num_foreground :],
    )
    if panel.shape[1] > MAX_WIDTH:
      panel = files.rescale(panel, MAX_WIDTH, Image.Resampling.BOX)
    panels.append(panel)
  return panels


def predict(
  predictor: Predictor, variables: dict, image: np.ndarray, *, resize: int = 0
) -> np.ndarray:
  """Predicts one image of any size.

  Args:
    predictor: the predictor, from `make`.
    variables: variables of the model.
    image: uint8[H, W, C].
    resize: length of the longer side after scaling; 0 for no scaling.

  Returns:
    bool[H, W, K], at the size of the image.
  """
  height, width = image.shape[:2]
  if resize:
    image = files.rescale(image, resize, Image.Resampling.BOX)
  rows, cols = image.shape[:2]
  below, right = (-side % pipeline.ROUND_TO for side in (rows, cols))
  padded = np.pad(image, ((0, below), (0, right), (0, 0)), mode='edge')
  planes = jax.device_get(predictor.predict(variables, padded[None]))
  planes = planes[0, :rows, :cols]
  if (rows, cols) == (height, width):
    return planes
  nearest = Image.Resampling.NEAREST
  return files.resize(planes.astype(np.uint8), (width, height), nearest) > 0
