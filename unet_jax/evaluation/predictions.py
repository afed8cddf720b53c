"""Masks and overlays of new images, as files."""

import pathlib
from collections.abc import Sequence

import numpy as np

from unet_jax import build, errors
from unet_jax.data import files, folder
from unet_jax.evaluation import counts, pictures, trained


def find_images(inputs: Sequence[str]) -> list[pathlib.Path]:
  """Lists files, and the images in folders; names must differ.

  Raises:
    InputError: for a path that doesn't exist, or a name that comes twice.
  """
  found = {}
  for text in inputs:
    path = pathlib.Path(text)
    paths = folder.find_images(path) if path.is_dir() else [path]
    for image in paths:
      if not image.exists():
        raise errors.InputError(f'--input {image}: no such file or folder')
      if image.stem in found:
        raise errors.InputError(
          f'--input: {found[image.stem]} and {image} would both be written as '
          f'{image.stem}.png; predict them one by one'
        )
      found[image.stem] = image
  return list(found.values())


def write(
  workdir: pathlib.Path,
  checkpoint: str,
  paths: Sequence[pathlib.Path],
  output: pathlib.Path,
) -> None:
  """Writes NAME.png, class indices, and NAME_overlay.png for each image.

  Where classes overlap, there is a NAME_CLASS.png of 0 and 1 for each instead.

  Raises:
    InputError: if a file would take the place of an input, or can't be written.
  """
  run = trained.load(workdir, checkpoint)
  step = counts.make_predict_step(run.model, run.task, run.mean, run.std)
  inputs = {path.resolve() for path in paths}
  written = set()
  for path in paths:
    channels = run.config.data.channels
    image = files.read_image(path, 3 if channels == 'green' else len(run.mean))
    image = files.keep_channels(image, channels)
    planes = trained.predict(step, run.variables, image, run.config.data.resize)
    found = masks(planes, run.task)
    shown = planes[..., -run.task.num_foreground :]
    found['_overlay'] = pictures.overlay(image, shown)
    for suffix, picture in found.items():
      target = output / f'{path.stem}{suffix}.png'
      if target.resolve() in inputs | written:
        raise errors.InputError(
          f'--output: {target} is an input or was just written; name a folder '
          'of its own, and images that differ by more than _overlay'
        )
      files.write_png(picture, target)
      written.add(target.resolve())


def masks(planes: np.ndarray, task: build.Task) -> dict[str, np.ndarray]:
  """Turns bool[H, W, K] into uint8[H, W] masks by the ending of their name."""
  if task.exclusive:
    return {'': planes.argmax(axis=-1).astype(np.uint8)}
  if len(task.planes) == 1:
    return {'': planes[..., 0].astype(np.uint8)}
  return {
    f'_{name}': planes[..., i].astype(np.uint8)
    for i, name in enumerate(task.planes)
  }
