"""Masks and overlays of new images, as files."""

import pathlib
from collections.abc import Sequence

import numpy as np

from unet_jax import errors
from unet_jax.data import files, folder, labels
from unet_jax.evaluation import pictures, predictor, trained


def find_images(inputs: Sequence[str]) -> list[pathlib.Path]:
  """Lists files, and the images in folders; names must differ.

  Raises:
    InputError: for a path that doesn't exist, or a name that comes twice.
  """
  by_name: dict[str, pathlib.Path] = {}
  for text in inputs:
    path = pathlib.Path(text)
    paths = folder.find_images(path) if path.is_dir() else [path]
    for image in paths:
      if not image.exists():
        raise errors.InputError(f'--input {image}: no such file or folder')
      if image.stem in by_name:
        raise errors.InputError(
          f'--input: {by_name[image.stem]} and {image} would both be written '
          f'as {image.stem}.png; predict them one by one'
        )
      by_name[image.stem] = image
  return list(by_name.values())


def write(
  model: trained.Trained, paths: Sequence[pathlib.Path], output: pathlib.Path
) -> None:
  """Writes NAME.png, class indices, and NAME_overlay.png for each image.

  Where classes overlap, there is a NAME_CLASS.png of 0 and 1 for each instead.

  Raises:
    InputError: if a file would take the place of an input, or can't be written.
  """
  settings, classes = model.config.data, model.predictor.classes
  is_green = settings.channels == 'green'  # Cut from colour images.
  num_channels = 3 if is_green else len(model.predictor.mean)
  inputs = {path.resolve() for path in paths}
  written: set[pathlib.Path] = set()
  for path in paths:
    image = files.read_image(path, num_channels)
    image = files.keep_channels(image, settings.channels)
    planes = predictor.predict(
      model.predictor, model.variables, image, resize=settings.resize
    )
    foreground = planes[..., -classes.num_foreground :]
    outputs = masks(planes, classes)
    outputs['_overlay'] = pictures.overlay(image, foreground)
    for suffix, picture in outputs.items():
      target = output / f'{path.stem}{suffix}.png'
      if target.resolve() in inputs | written:
        raise errors.InputError(
          f'--output: {target} is an input or was just written; name a folder '
          'of its own, and images that differ by more than _overlay'
        )
      files.write_png(picture, target)
      written.add(target.resolve())


def masks(
  planes: np.ndarray, classes: labels.ClassSpec
) -> dict[str, np.ndarray]:
  """Turns bool[H, W, K] into uint8[H, W] masks by the ending of their name."""
  if classes.exclusive:
    return {'': planes.argmax(axis=-1).astype(np.uint8)}
  if len(classes.planes) == 1:
    return {'': planes[..., 0].astype(np.uint8)}
  return {
    f'_{name}': planes[..., i].astype(np.uint8)
    for i, name in enumerate(classes.planes)
  }
