"""A model for evaluation, and how it is run on windows of one shape."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
import scipy.special
from PIL import Image

from unet_jax import build, parallel
from unet_jax.data import codes, files, labels, moments, pipeline, sources
from unet_jax.evaluation import averaging, counts, decisions, scores, tiles
from unet_jax.nn import preprocess


class Predictor(NamedTuple):
  """A model without weights; its functions compile at their first call.

  Attributes:
    classes: classes of the planes of the logits.
    model: the model; its input is an image normalised by `mean` and `std`.
    mean: per-channel mean of the training images.
    std: per-channel standard deviation of the training images.
    window: S, side of a window; 0 if it is not chosen, see trained.with_window.
    max_pixels: largest number of pixels of an evaluation batch; that of a
      training batch.
    logits: (weights, {'image': [B, S, S, C]}, with mean and std if each image
      has its own) -> float32[B, S, S, K], the network, mapped by
      parallel.map_batches. Evaluation calls it with windows of one shape, so
      that it compiles once. The weights are those of `weigh`.
    count: (None, batch) -> the dict of counts.count_step, mapped likewise.
    scales: of the sizes of an image over which `logits_of` averages; () is its
      own size. Counting in training does not scale.
    limits: black and white of the training images.
    normalise: what normalises an image; see moments.of_image.
  """

  classes: labels.ClassSpec
  model: build.Model
  mean: tuple[float, ...]
  std: tuple[float, ...]
  window: int
  max_pixels: int
  logits: Callable
  count: Callable
  scales: tuple[float, ...] = ()
  limits: tuple[float, float] = codes.BYTES
  normalise: str = 'dataset'


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
  limits: Sequence[float] = codes.BYTES,
  loss_of: Callable | None = None,
) -> Predictor:
  """Builds a model and the functions that evaluate it.

  Args:
    config: config of the run.
    classes: classes from build.make_classes.
    mean: per-channel mean of the training images.
    std: per-channel standard deviation of the training images.
    limits: their black and white.
    loss_of: (logits, target, weight) -> the loss and its terms, which `count`
      then computes for each window; optional.
  """
  model = build.make_model(config, classes)
  apply_fn: Callable = model.apply

  def logits(weights: tuple, batch: dict[str, jax.Array]) -> jax.Array:
    variables, mean, std = weights
    used = batch if 'mean' in batch else dict(mean=mean, std=std)
    image = preprocess.normalise(batch['image'], used['mean'], used['std'])
    return apply_fn(variables, image)

  def count(_: None, batch: dict[str, jax.Array]) -> dict:
    return counts.count_step(
      batch,
      targets_of=build.make_targets(classes),
      exclusive=classes.exclusive,
      loss_of=loss_of,
    )

  return Predictor(
    classes=classes,
    model=model,
    mean=tuple(mean),
    std=tuple(std),
    limits=(limits[0], limits[1]),
    normalise=config.data.normalise,
    window=config.window,
    max_pixels=config.batch_size * config.image_size**2,
    logits=parallel.map_batches(logits),
    count=parallel.map_batches(count),
  )


def weigh(
  predictor: Predictor, variables: dict
) -> tuple[dict, np.ndarray, np.ndarray]:
  """Returns the weights that `logits` takes: variables, mean and std.

  The moments are no constants, so that runs on other images, as the folds of a
  cross-validation are, share a compiled network.
  """
  both = predictor.mean, predictor.std
  mean, std = (np.array(x, np.float32) for x in both)
  return variables, mean, std


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
  results = []
  by_size = itertools.groupby(
    pipeline.eval_examples(source),
    lambda example: tiles.fits(example['label'].shape, predictor.window),
  )
  for is_window, examples in by_size:
    samples: Iterable[dict]
    if is_window:
      samples = (_whole(predictor, example) for example in examples)
    else:
      samples = _pieces(predictor, variables, examples)
    for batch in parallel.place_ahead(_stack(predictor, samples)):
      results.append(count_batch(predictor, variables, batch))
  return counts.add_up(parallel.gather(results), len(source))


def count_batch(
  predictor: Predictor, variables: dict, batch: dict[str, jax.Array]
) -> dict:
  """Counts a batch; what the network computes stays on the devices.

  Args:
    predictor: the predictor, from `make`.
    variables: variables of the model, on every device.
    batch: the batch of counts.count_step, placed by parallel.place_batch; or
      image [B, S, S, C] instead of logits.

  Returns:
    The dict of counts.count_step, on the devices.
  """
  if 'logits' not in batch:
    inputs = ('image', *moments.KEYS)
    sent = {k: x for k, x in batch.items() if k in inputs}
    logits = predictor.logits(weigh(predictor, variables), sent)
    batch = {k: x for k, x in batch.items() if k not in inputs}
    batch = batch | dict(logits=logits)
  return predictor.count(None, batch)


def _whole(predictor: Predictor, example: dict) -> dict:
  """Returns an image that fits into the window, padded to it, as a sample."""
  image, label = pipeline.pad(
    example['image'], example['label'], predictor.window, predictor.window
  )
  index = np.int32(example['index'])
  sample = dict(image=image, label=label, index=index, weight=np.float32(1))
  return sample | moments.of_example(example)


def _pieces(
  predictor: Predictor, variables: dict, examples: Iterable[dict]
) -> Iterator[dict]:
  """Yields the blended logits of large images in pieces of a window's shape."""
  side = predictor.window
  for example in examples:
    label, shape = example['label'], example['label'].shape[:2]
    lefts, tops = (range(0, length, side) for length in shape[::-1])
    constant = dict(
      index=np.int32(example['index']),
      weight=np.float32(1 / (len(tops) * len(lefts))),
    )
    read = example['image'].__getitem__
    own = moments.of_example(example)
    strips = strips_of(predictor, variables, read, shape, own)
    for top, logits in zip(tops, tiles.regroup(strips, side), strict=True):
      for left in lefts:
        part = label[top : top + side, left : left + side]
        piece = logits[:, left : left + side]
        piece, part = pipeline.pad(piece, part, side, side)
        yield dict(logits=piece, label=part, **constant)


def strips_of(
  predictor: Predictor,
  variables: dict,
  read: Callable[[slice], np.ndarray],
  shape: tuple[int, int],
  own: moments.Moments,
) -> Iterator[np.ndarray]:
  """Returns the logits of an image of any size in strips; see tiles.blend.

  Args:
    predictor: the predictor, from `make`.
    variables: variables of the model, on every device.
    read: slice of rows -> [rows, W, C].
    shape: H and W of the image.
    own: what normalises the image; see moments.of_image.

  Returns:
    An iterator of float32[rows, W, K], from top to bottom; of the whole image,
    if the predictor scales it.
  """
  if predictor.scales:
    whole = {'image': read(slice(0, shape[0]))} | own
    return logits_of(predictor, variables, [whole])
  cut = tiles.cut(read, shape, predictor.window)
  windows = ({'image': image} | own for image in cut)
  logits = _run(predictor, variables, windows)
  return tiles.blend(logits, shape, predictor.window)


def logits_of(
  predictor: Predictor, variables: dict, examples: Iterable[Mapping]
) -> Iterator[np.ndarray]:
  """Yields the logits, float32[H, W, K], of images of any size.

  Several images share a batch, unless they are scaled.

  Args:
    predictor: the predictor, from `make`.
    variables: variables of the model, on every device.
    examples: each has `image`, [H, W, C], and what normalises it; see moments.
  """
  if predictor.scales:
    for example in examples:
      yield _over_scales(predictor, variables, example)
    return
  side = predictor.window
  ahead, examples = itertools.tee(examples)
  windows = (
    {'image': window} | moments.of_example(example)
    for example in ahead
    for window in tiles.cut(
      example['image'].__getitem__, example['image'].shape[:2], side
    )
  )
  logits = _run(predictor, variables, windows)
  for example in examples:
    shape = example['image'].shape[:2]
    yield np.concatenate(list(tiles.blend(logits, shape, side)))


def _over_scales(
  predictor: Predictor, variables: dict, example: Mapping
) -> np.ndarray:
  """Returns the logits of the mean probabilities over sizes of an image."""
  image, own = example['image'], moments.of_example(example)
  height, width = image.shape[:2]
  bilinear = Image.Resampling.BILINEAR
  sizes = [(round(x * width), round(x * height)) for x in predictor.scales]
  sized = [
    {'image': files.resize(image, size, bilinear)} | own for size in sizes
  ]
  logits = logits_of(predictor._replace(scales=()), variables, sized)
  back = [files.resize(x, (width, height), bilinear) for x in logits]
  return averaging.mean(back, exclusive=predictor.classes.exclusive)


def _run(
  predictor: Predictor, variables: dict, windows: Iterable[dict]
) -> Iterator[np.ndarray]:
  """Yields logits float32[S, S, K] of windows, in their order.

  After the last window there may be logits of padding.
  """
  batches = _stack(predictor, windows)
  placed = parallel.place_ahead(batches)
  weights = weigh(predictor, variables)
  results = (predictor.logits(weights, batch) for batch in placed)
  for result in parallel.ahead(results):
    yield from parallel.gather(result)


def _stack(predictor: Predictor, samples: Iterable[dict]) -> Iterator[dict]:
  """Yields this process's part of batches of the one size of the predictor."""
  num_devices = jax.device_count()
  per_device = predictor.max_pixels // (predictor.window**2 * num_devices)
  return pipeline.stack(
    samples,
    max(1, per_device) * num_devices,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def score_split(
  predictor: Predictor, variables: dict, source: sources.Examples
) -> SplitScores:
  """Scores a split on all devices; takes the arguments of `count_split`."""
  confusion, losses = count_split(predictor, variables, source)
  classes = predictor.classes
  row = scores.row(confusion, classes.planes, classes.num_foreground)
  return SplitScores(confusion, losses, row)


def predict(
  predictor: Predictor,
  variables: dict,
  image: np.ndarray,
  *,
  resize: int = 0,
  rule: decisions.Rule = decisions.PLAIN,
) -> np.ndarray:
  """Predicts one image of any size.

  Args:
    predictor: the predictor, from `make`.
    variables: variables of the model.
    image: [H, W, C].
    resize: length of the longer side after scaling; 0 for no scaling.
    rule: how logits become masks, before they are scaled back.

  Returns:
    bool[H, W, K], at the size of the image.
  """
  logits = scaled_logits(predictor, variables, image, resize)
  planes = decisions.decide(logits, predictor.classes, rule)
  return resize_planes(planes, image.shape[:2])


def probabilities(
  predictor: Predictor, variables: dict, image: np.ndarray, *, resize: int = 0
) -> np.ndarray:
  """Predicts the probabilities of one image of any size.

  Takes arguments of `predict`: image [H, W, C], and so on.

  Returns:
    float32[H, W, K].
  """
  logits = scaled_logits(predictor, variables, image, resize)
  return to_probs(logits, predictor.classes, image.shape[:2])


def scaled_logits(
  predictor: Predictor, variables: dict, image: np.ndarray, resize: int
) -> np.ndarray:
  """Returns the logits float32[H, W, K] of an image after its scaling."""
  own = moments.of_image(image, predictor.normalise)
  if resize:
    image = files.rescale(image, resize, Image.Resampling.BOX)
  (logits,) = logits_of(predictor, variables, [{'image': image} | own])
  return logits


def resize_planes(planes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Scales masks bool[h, w, K] to bool[H, W, K] of a shape H, W."""
  if planes.shape[:2] == shape:
    return planes
  nearest = Image.Resampling.NEAREST
  return files.resize(planes.astype(np.uint8), shape[::-1], nearest) > 0


def to_probs(
  logits: np.ndarray, classes: labels.ClassSpec, shape: tuple[int, int]
) -> np.ndarray:
  """Turns logits float32[h, w, K] into probabilities float32[H, W, K]."""
  if classes.exclusive:
    probs = scipy.special.softmax(logits, axis=-1)
  else:
    probs = scipy.special.expit(logits)
  if probs.shape[:2] == shape:
    return probs
  return files.resize(probs, shape[::-1], Image.Resampling.BILINEAR)
