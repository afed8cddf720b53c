"""A folder of images and masks: `images/NAME.*` with `masks/NAME.png` or .npy,
or `GT/<class>/NAME.png`, and lists `train.txt`, `val.txt`, `test.txt`."""

import functools
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from unet_jax import errors, text_files
from unet_jax.data import (
  files,
  image_files,
  image_kinds,
  labels,
  layout,
  mask_files,
  opening,
  scan,
  splits,
  stored,
)
from unet_jax.data.checks import files as file_checks
from unet_jax.data.checks import finding, sizes
from unet_jax.data.checks import names as name_checks
from unet_jax.data.spec import Spec

T = TypeVar('T')


def open_folder(spec: Spec) -> layout.Layout:
  """Opens the files under `spec.root`, and refuses files that don't match.

  Raises:
    InputError: naming the files, lists or classes that are missing.
  """
  return open_files(spec, scan.list_files(spec))


def open_files(spec: Spec, scanned: scan.Files) -> layout.Layout:
  """Like `open_folder`, for files already listed."""
  root, masks = scanned.root, spec.masks
  classes = spec.classes or _find_classes(scanned, spec)
  findings = file_checks.check(scanned, spec, classes)
  finding.refuse(findings)
  if not classes:
    raise errors.InputError(name_checks.ask(scanned, masks.kind))
  images = _first(scanned.images)
  folders = [scan.MASKS]
  if masks.kind == 'folders':
    folders = layout.mask_folders(masks, classes)
  paths = {folder: _first(scanned.masks[folder]) for folder in folders}
  fields, weights = _first(scanned.fields), _first(scanned.weights)
  keys = splits.from_ranges(spec.split, list(images)) or scanned.lists
  keys = keys or {'all': sorted(images)}
  image_kind, mixed = image_kinds.find_kind(
    [images[name] for names in keys.values() for name in names],
    scanned.endings,
    bits=spec.bits,
    pages=spec.pages,
  )
  has_bright = once(lambda: image_files.has_bright(images.values()))
  readers = {x: make_mask_reader(named, spec) for x, named in paths.items()}

  def read(name: str) -> layout.Raw:
    image = image_files.read_image(images[name], image_kind, has_bright)

    def fit(array: np.ndarray, path: pathlib.Path) -> np.ndarray:
      if array.shape[:2] != image.shape[:2]:
        _refuse_size(images[name], path, array)
      return array

    planes = {
      folder: fit(readers[folder](named[name]), named[name])
      if name in named
      else np.zeros(image.shape[:2], bool)
      for folder, named in paths.items()
    }
    field, weight_map = None, None
    if fields:
      field = fit(mask_files.read_view(fields[name]), fields[name])
    if name in weights:
      weight_map = fit(files.read_weights(weights[name]), weights[name])
    if masks.kind == 'folders':
      return layout.Raw(name, image, planes, name, field, weight_map)
    mask: labels.Mask = planes[scan.MASKS]
    where = str(paths[scan.MASKS].get(name, name))
    if masks.kind == 'planes':
      mask = dict(enumerate(np.moveaxis(planes[scan.MASKS], -1, 0)))
    return layout.Raw(name, image, mask, where, field, weight_map)

  notes = (*finding.notes(findings), *mixed)
  return layout.Layout(keys, read, classes, str(root), image_kind, notes)


def once(function: Callable[[], T]) -> Callable[[], T]:
  """Returns a function that calls `function` once, also if threads call it."""
  cached, lock = functools.cache(function), threading.Lock()

  def call() -> T:
    with lock:
      return cached()

  return call


def make_mask_reader(
  masks: Mapping[str, pathlib.Path], spec: Spec
) -> Callable[[pathlib.Path], np.ndarray]:
  """Builds the function that reads a mask of a folder.

  Args:
    masks: the masks of the folder, by their names.
    spec: says how they are stored.

  Returns:
    A function of a path -> [H, W, K] for `planes`, uint8[H, W, 3] for `color`,
    else uint8 or bool[H, W], or int32[H, W] of indices above 255.
  """
  if spec.masks.kind == 'planes':
    return files.read_planes
  if spec.masks.kind == 'color':
    return image_files.read_image
  if spec.masks.kind == 'index':
    has_instances = once(lambda: mask_files.number_instances(masks.values()))
    return functools.partial(
      mask_files.read_index, task=spec.task, has_instances=has_instances
    )
  white = once(lambda: mask_files.find_white(masks.values()))
  return functools.partial(mask_files.read_levels, white=white)


def find_images(folder: pathlib.Path) -> list[pathlib.Path]:
  """Lists the image files directly in `folder`.

  Raises:
    InputError: if there is no image, or two images have the same name.
  """
  images = scan.by_name(folder, opening.IMAGES)
  finding.refuse(
    [
      *file_checks.holds_files(folder, images, opening.IMAGES),
      *file_checks.ambiguous([images]),
    ]
  )
  return list(_first(images).values())


def left_out(folder: pathlib.Path) -> list[str]:
  """Returns a line on the files of a folder that are not read, if any are."""
  return finding.notes(file_checks.left_out({folder: opening.IMAGES}))


def _first(paths: scan.Paths) -> dict[str, pathlib.Path]:
  return {name: files_of_name[0] for name, files_of_name in paths.items()}


def _find_classes(scanned: scan.Files, spec: Spec) -> tuple[str, ...]:
  """Returns the names in classes.txt, or of the folders under GT."""
  path, masks = scanned.root / 'classes.txt', spec.masks
  if path.exists():
    return _foreground(text_files.read_lines(path), path, spec)
  if masks.kind == 'folders':
    return tuple(name for name in scanned.masks if name not in masks.void)
  return ()


def _foreground(
  names: list[str], path: pathlib.Path, spec: Spec
) -> tuple[str, ...]:
  """Returns the names of classes.txt without what means no class.

  labelme's begins with __ignore__, which is void, and _background_.

  Raises:
    InputError: if the background is not the first: its value is 0.
  """
  background = spec.masks.background
  if not background:
    return tuple(names)
  names = names[1:] if names[:1] == ['__ignore__'] else names
  same = [
    name
    for name in names
    if name.strip('_').casefold() == background.strip('_').casefold()
  ]
  if same and names[0] != same[0] and spec.masks.kind != 'folders':
    raise errors.InputError(
      f'{path}: {same[0]} is not the first name, though its value is 0; move '
      'it to the first line, or, if every pixel has a class, set '
      '--config.data.background='
    )
  return tuple(name for name in names if name not in same)


def _refuse_size(
  image: pathlib.Path, path: pathlib.Path, array: np.ndarray
) -> None:
  """Refuses a mask or map at `path`, whose size is not its image's."""
  file, _ = stored.read(image)
  pair = sizes.Pair(file, (stored.describe(str(path), array),))
  finding.refuse(sizes.check([pair]))
