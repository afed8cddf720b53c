"""A folder of images and masks: `images/NAME.*` with `masks/NAME.png` or .npy,
or `GT/<class>/NAME.png`, and lists `train.txt`, `val.txt`, `test.txt`."""

import pathlib

import numpy as np

from unet_jax import errors
from unet_jax.data import files, labels, layout, scan, splits, stored
from unet_jax.data.checks import files as file_checks
from unet_jax.data.checks import finding, sizes
from unet_jax.data.checks import names as name_checks
from unet_jax.data.spec import Spec


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
  finding.refuse(file_checks.check(scanned, spec, classes))
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
  channels = files.num_channels(
    [images[name] for names in keys.values() for name in names]
  )

  def read(name: str) -> layout.Raw:
    image = files.read_image(images[name], channels)

    def fit(array: np.ndarray, path: pathlib.Path) -> np.ndarray:
      if array.shape[:2] != image.shape[:2]:
        _refuse_size(images[name], path, array)
      return array

    planes = {
      folder: fit(read_mask(named[name], masks.kind), named[name])
      if name in named
      else np.zeros(image.shape[:2], bool)
      for folder, named in paths.items()
    }
    field, weight_map = None, None
    if fields:
      view = files.read_mask(fields[name], as_index=False) > 0
      field = fit(view, fields[name])
    if name in weights:
      weight_map = fit(files.read_weights(weights[name]), weights[name])
    if masks.kind == 'folders':
      return layout.Raw(name, image, planes, name, field, weight_map)
    mask: labels.Mask = planes[scan.MASKS]
    where = str(paths[scan.MASKS].get(name, name))
    if masks.kind == 'planes':
      mask = dict(enumerate(np.moveaxis(planes[scan.MASKS], -1, 0)))
    return layout.Raw(name, image, mask, where, field, weight_map)

  return layout.Layout(keys, read, classes, str(root))


def read_mask(path: pathlib.Path, kind: str) -> np.ndarray:
  """Reads a mask that is stored as `kind`; see spec.Masks.

  Returns:
    [H, W, K] for `planes`, uint8[H, W, 3] for `color`, else uint8 or bool
    [H, W].
  """
  if kind == 'planes':
    return files.read_planes(path)
  if kind == 'color':
    return files.read_image(path, 3)
  return files.read_mask(path, as_index=kind == 'index')


def find_images(folder: pathlib.Path) -> list[pathlib.Path]:
  """Lists the image files directly in `folder`.

  Raises:
    InputError: if there is no image, or two images have the same name.
  """
  images = scan.by_name(folder)
  finding.refuse(
    [
      *file_checks.holds_files(folder, images),
      *file_checks.ambiguous([images]),
    ]
  )
  return list(_first(images).values())


def _first(paths: scan.Paths) -> dict[str, pathlib.Path]:
  return {name: files_of_name[0] for name, files_of_name in paths.items()}


def _find_classes(scanned: scan.Files, spec: Spec) -> tuple[str, ...]:
  """Returns the names in classes.txt, or of the folders under GT."""
  path, masks = scanned.root / 'classes.txt', spec.masks
  if path.exists():
    lines = path.read_text('utf-8-sig').splitlines()
    names = [line.strip() for line in lines]
    return tuple(name for name in names if name and name != masks.background)
  if masks.kind == 'folders':
    return tuple(name for name in scanned.masks if name not in masks.void)
  return ()


def _refuse_size(
  image: pathlib.Path, path: pathlib.Path, array: np.ndarray
) -> None:
  """Refuses a mask or map at `path`, whose size is not its image's."""
  file, _ = stored.read(image)
  pair = sizes.Pair(file, (stored.describe(str(path), array),))
  finding.refuse(sizes.check([pair]))
