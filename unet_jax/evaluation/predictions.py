"""Predicts new images, and writes their masks and overlays as files."""

import pathlib
from collections.abc import Sequence

import numpy as np

from unet_jax import errors
from unet_jax.data import files, folder, labels
from unet_jax.evaluation import pictures, predictor, trained


def find_images(inputs: Sequence[str]) -> list[pathlib.Path]:
  """Lists the images among files and folders; their stems must differ.

  Raises:
    InputError: for a path that doesn't exist, or a stem that occurs twice.
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

  Overlapping classes have a NAME_CLASS.png of 0 and 1 each instead of NAME.png.

  Raises:
    InputError: if a file would overwrite an input, or can't be written.
  """
  settings, classes = model.config.data, model.predictor.classes
  # The green channel is taken from colour images.
  is_green = settings.channels == 'green'
  num_channels = 3 if is_green else len(model.predictor.mean)
  sides = (
    [settings.resize] if settings.resize else map(files.longer_side, paths)
  )
  model = trained.with_window(model, sides)
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
          f'--output: {target} is an input or was just written; name an empty '
          'folder, and images whose names differ by more than _overlay'
        )
      files.write_png(picture, target)
      written.add(target.resolve())


def masks(
  planes: np.ndarray, classes: labels.ClassSpec
) -> dict[str, np.ndarray]:
  """Converts bool[H, W, K] into {suffix of the file's name: uint8[H, W]}."""
  if classes.exclusive:
    return {'': planes.argmax(axis=-1).astype(np.uint8)}
  if len(classes.planes) == 1:
    return {'': planes[..., 0].astype(np.uint8)}
  return {
    # A name must not lead into another folder.
    f'_{name.replace("/", "%2F")}': planes[..., i].astype(np.uint8)
    for i, name in enumerate(classes.planes)
  }
