"""Predicts one image, strip by strip, and writes its files."""

import contextlib
import itertools
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import ml_collections
import numpy as np

from unet_jax import errors
from unet_jax.data import files, image_kinds, labels, moments, rows
from unet_jax.evaluation import (
  decisions,
  measures,
  pictures,
  polygons,
  predictor,
  raster_files,
  tiles,
  trained,
)

LARGEST_OVERLAY = 4096  # Pixels; its longer side.

Targets = Mapping[str, pathlib.Path]  # Suffix of a file's name -> the file.


class Options(NamedTuple):
  """What is written beside masks and overlays."""

  probabilities: str = ''  # png | npy
  polygons: bool = False
  max_pixels: int = 2**27  # Of an image that is decoded as a whole.

  def describe(self, model: trained.Trained) -> str:
    """Returns what changes the files, for the table."""
    own = dict(probabilities=self.probabilities, polygons=self.polygons)
    given = own | model.options()
    return ' '.join(f'{key}={value}' for key, value in given.items())


def targets(
  path: pathlib.Path,
  output: pathlib.Path,
  classes: labels.ClassSpec,
  options: Options,
  kind: image_kinds.Kind = image_kinds.RGB,
) -> Targets:
  """Returns the files that an image will have."""
  name = image_kinds.name_of(path, kind)
  image = '.tif' if rows.is_large(path, options.max_pixels) else '.png'
  none = np.zeros((1, 1, len(classes.planes)), bool)
  endings = dict.fromkeys(masks(none, classes, 1), image)
  endings['_overlay'] = '.png'
  if options.probabilities == 'png':
    first = len(classes.planes) - classes.num_foreground
    names = classes.planes[first:]
    endings |= {f'_{x}_probability': image for x in names}
  elif options.probabilities:
    endings['_probabilities'] = '.npy'
  if options.polygons:
    endings['_outlines'] = '.geojson'
  return {
    # The name of a class must not lead into another folder.
    suffix: output / f'{name}{suffix}{ending}'.replace('/', '%2F')
    for suffix, ending in endings.items()
  }


def write(
  model: trained.Trained,
  path: pathlib.Path,
  targets: Targets,
  options: Options,
  report: Callable[[float], None],
  *,
  may_be_dark: Callable[[], bool],
) -> measures.Measures:
  """Predicts an image and writes its files.

  Args:
    model: the model, with a window.
    path: of the image.
    targets: its files, from `targets`.
    options: what is written.
    report: takes the share of the image that is done, 0 to 1.
    may_be_dark: see image_files.read_image.

  Returns:
    The measures of the foreground classes.

  Raises:
    InputError: if the image can't be read, or a file can't be written.
  """
  classes, settings = model.predictor.classes, model.config.data
  first = len(classes.planes) - classes.num_foreground
  opened = rows.open_rows(
    path,
    kind=model.kind,
    channels=settings.channels,
    max_pixels=options.max_pixels,
    may_be_dark=may_be_dark,
  )
  with opened as image, contextlib.ExitStack() as stack:
    if options.polygons and not image.is_whole:
      raise errors.InputError(
        f'{path}: an image that is read in parts has no outlines; predict it '
        'without --polygons'
      )
    height, width = image.shape
    write_rows = _open(model, targets, image.shape, stack)
    measured = measures.start(classes.num_foreground, width)
    factor = pictures.factor(image.shape, LARGEST_OVERLAY)
    small, shown, outlined, top = [], [], [], 0
    for planes, probs in _strips(model, image, path):
      bottom = top + len(planes)
      write_rows(planes, probs)
      measured = measures.add(measured, planes[..., first:], probs[..., first:])
      pixels = pictures.to_bytes(
        image.read(slice(top, bottom)), model.predictor.limits
      )
      small.append(pictures.shrink(pixels, factor))
      shown.append(pictures.shrink(planes[..., first:], factor))
      if options.polygons:
        outlined.append(planes[..., first:])
      top = bottom
      report(top / height)
  names = classes.planes[first:]
  picture = pictures.overlay(np.concatenate(small), np.concatenate(shown))
  picture = pictures.with_legend(picture, names)
  files.write_png(picture, targets['_overlay'])
  if options.polygons:
    whole = np.moveaxis(np.concatenate(outlined), -1, 0)
    polygons.write(dict(zip(names, whole, strict=True)), targets['_outlines'])
  return measured


def _strips(
  model: trained.Trained, image: rows.Rows, path: pathlib.Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields masks bool[rows, W, K] and probabilities float32[rows, W, K].

  Each has raster_files.TILE rows, the last may have fewer.
  """
  if model.config.data.resize:
    yield from _scaled_strips(model, image, path)
    return
  if model.predictor.scales and not image.is_whole:
    raise errors.InputError(
      f'{path}: an image that is read in parts is not scaled; predict it '
      'without --augment=scales'
    )
  classes, rows_each = model.predictor.classes, raster_files.TILE
  own = _moments(model, image, path)
  strips = predictor.strips_of(
    model.predictor, model.variables, image.read, image.shape, own
  )
  strips, again = itertools.tee(tiles.regroup(strips, rows_each))
  planes = decisions.decide_strips(strips, classes, model.rule)
  probs = (predictor.to_probs(x, classes, x.shape[:2]) for x in again)
  yield from zip(tiles.regroup(planes, rows_each), probs, strict=True)


def _scaled_strips(
  model: trained.Trained, image: rows.Rows, path: pathlib.Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields `_strips` of an image that the run scales."""
  classes, resize = model.predictor.classes, model.config.data.resize
  if not image.is_whole:
    raise errors.InputError(
      f'{path}: the run scales images to config.data.resize={resize}, and an '
      'image that is read in parts is not scaled; scale it to that side first'
    )
  whole = image.read(slice(0, image.shape[0]))
  args = model.predictor, model.variables, whole
  logits = predictor.scaled_logits(*args, resize)
  decided = decisions.decide(logits, classes, model.rule)
  planes = predictor.resize_planes(decided, image.shape)
  probs = predictor.to_probs(logits, classes, image.shape)
  for top in range(0, len(whole), raster_files.TILE):
    part = slice(top, top + raster_files.TILE)
    yield planes[part], probs[part]


def _moments(
  model: trained.Trained, image: rows.Rows, path: pathlib.Path
) -> moments.Moments:
  """Returns what normalises an image; reads all of it for that."""
  how, height = model.predictor.normalise, image.shape[0]
  if image.is_whole:
    return moments.of_image(image.read(slice(0, height)), how)
  if how == 'percentile':
    raise errors.InputError(
      f'{path}: an image that is read in parts has no percentiles, which '
      'config.data.normalise of this run needs; decode it as a whole by '
      f'--max_pixels={math.prod(image.shape)}'
    )
  if how == 'dataset':
    return {}
  tops = range(0, height, raster_files.TILE)
  strips = (
    image.read(slice(top, min(top + raster_files.TILE, height))) for top in tops
  )
  return moments.of_strips(strips)


def _open(
  model: trained.Trained,
  targets: Targets,
  shape: tuple[int, int],
  stack: contextlib.ExitStack,
) -> Callable[[np.ndarray, np.ndarray], None]:
  """Opens the files of an image; returns what writes a strip of each."""
  classes = model.predictor.classes
  value, palette = style(model.config, classes)

  def open_file(suffix, shape, dtype, palette=None):
    file = raster_files.open_file(targets[suffix], shape, dtype, palette)
    return stack.enter_context(file)

  planes_of = {
    f'_{name}_probability': k
    for k, name in enumerate(classes.planes)
    if f'_{name}_probability' in targets
  }
  names = masks(np.zeros((1, 1, len(classes.planes)), bool), classes, value)
  write_mask = {x: open_file(x, shape, np.uint8, palette) for x in names}
  write_prob = {x: open_file(x, shape, np.uint16) for x in planes_of}
  write_all = None
  if '_probabilities' in targets:
    whole = (*shape, len(classes.planes))
    write_all = open_file('_probabilities', whole, np.float32)

  def write_rows(planes: np.ndarray, probs: np.ndarray) -> None:
    for suffix, mask in masks(planes, classes, value).items():
      write_mask[suffix](mask)
    for suffix, k in planes_of.items():
      scaled = np.round(probs[..., k] * np.float32(65535))
      write_prob[suffix](scaled.astype(np.uint16))
    if write_all:
      write_all(probs)

  return write_rows


def masks(
  planes: np.ndarray, classes: labels.ClassSpec, value: int
) -> dict[str, np.ndarray]:
  """Turns predicted planes into masks.

  Args:
    planes: bool[H, W, K].
    classes: classes of the planes.
    value: of the pixels of a class, where it has a mask of its own.

  Returns:
    {suffix of the file's name: uint8[H, W]}.
  """
  if classes.exclusive:
    return {'': planes.argmax(axis=-1).astype(np.uint8)}
  own = planes * np.uint8(value)
  if len(classes.planes) == 1:
    return {'': own[..., 0]}
  return {f'_{name}': own[..., k] for k, name in enumerate(classes.planes)}


def style(
  config: ml_collections.ConfigDict, classes: labels.ClassSpec
) -> tuple[int, np.ndarray | None]:
  """Returns how masks look: the value of a class, and the palette of indices.

  Classes that exclude each other are indices with a palette, uint8[N, 3]. One
  class is 255 without a palette; or 1 with one, if the run was trained on masks
  of indices, so that its own config reads the masks.
  """
  is_index = len(classes.planes) == 1 and config.data.masks.kind == 'index'
  if not classes.exclusive and not is_index:
    return 255, None
  colors = pictures.color_of(classes.num_foreground)
  if is_index or len(classes.planes) > classes.num_foreground:
    colors = np.concatenate([np.zeros((1, 3)), colors])
  return 1, colors.astype(np.uint8)
