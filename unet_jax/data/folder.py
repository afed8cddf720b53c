"""A folder of images and masks: `images/NAME.*` with `masks/NAME.png`, or
`GT/<class>/NAME.png`, and lists `train.txt`, `val.txt`, `test.txt`."""

import pathlib
from typing import NamedTuple

import numpy as np

from unet_jax import config as config_lib
from unet_jax.data import files, layout, splits


class Files(NamedTuple):
  """What lies in a folder, whether or not it fits together."""

  root: pathlib.Path
  images: dict[
    str, list[pathlib.Path]
  ]  # NAME -> its files: one, if all's well.
  masks: dict[str, dict[str, list[pathlib.Path]]]  # Mask folder -> likewise.
  lists: dict[str, list[str]]  # Of those of train.txt, val.txt and test.txt.


def scan(config) -> Files:
  """Lists the files under `config.data.root`, and judges nothing.

  Raises:
    InputError: if there is no such folder.
  """
  if not config.data.root:
    raise config_lib.InputError(
      'config.data.root is empty; give the folder: --config.data.root=DIR'
    )
  root = pathlib.Path(config.data.root).expanduser().absolute()
  if not root.is_dir():
    raise config_lib.InputError(
      f'config.data.root: no folder {root}; give it with --config.data.root'
    )
  images = files.by_name(root / 'images')
  masks = {
    path.name: files.by_name(path)
    for path in mask_paths(root, config.data.mask)
  }
  return Files(root, images, masks, splits.read_lists(root))


def mask_paths(root: pathlib.Path, mask: str) -> list[pathlib.Path]:
  """Returns the folders that hold masks: those in GT, or the one `masks`."""
  if mask != 'folders':
    return [path for path in [root / 'masks'] if path.is_dir()]
  there = root / 'GT'
  return (
    sorted(p for p in there.iterdir() if p.is_dir()) if there.is_dir() else []
  )


def open_folder(config) -> layout.Layout:
  """Finds the files under `config.data.root`, and refuses what doesn't match.

  Raises:
    InputError: naming the first file, list or class that is missing.
  """
  return open_files(config, scan(config))


def open_files(config, found: Files) -> layout.Layout:
  """Does so for the files given, as `scan` finds them."""
  root, keys = found.root, found.lists
  files.check_found(root / 'images', found.images)
  images = {name: paths[0] for name, paths in found.images.items()}
  classes = tuple(config.data.classes) or _find_classes(found, config.data.mask)
  masks = _choose_masks(found, config, classes)
  splits.check_lists(keys, root)
  _check_lists(keys, root, images)
  listed = {name for names in keys.values() for name in names}
  _match(listed or set(images), images, masks, is_listed=bool(listed))
  channels = files.num_channels([images[n] for n in listed or images])

  def read(name: str) -> layout.Raw:
    image = files.read_image(images[name], channels)
    planes = {}
    for folder, paths in masks.items():
      planes[folder] = files.read_mask(
        paths[name], as_index=config.data.mask == 'index'
      )
      _check_size(image, images[name], planes[folder], paths[name])
    if config.data.mask == 'folders':
      for folder, plane in planes.items():
        planes[folder] = _binarise(
          plane, config.data.threshold, masks[folder][name]
        )
      return layout.Raw(name, image, planes, name)
    return layout.Raw(name, image, planes['masks'], str(masks['masks'][name]))

  return layout.Layout(
    keys or {'all': sorted(images)}, read, classes, str(root)
  )


def _binarise(
  mask: np.ndarray, threshold: int, path: pathlib.Path
) -> np.ndarray:
  if mask.dtype == bool:
    return mask
  if mask.max() == 1 < threshold:
    raise config_lib.InputError(
      f'{path}: a mask of 0 and 1, where config.data.threshold is {threshold}; '
      'use --config.data.threshold=1'
    )
  return mask >= threshold


def _find_classes(found: Files, mask: str) -> tuple[str, ...]:
  """Reads classes.txt, else takes the folders under GT."""
  listed = found.root / 'classes.txt'
  if listed.exists():
    names = [
      line.strip() for line in listed.read_text('utf-8-sig').splitlines()
    ]
    return tuple(name for name in names if name and name != 'background')
  if mask == 'folders' and found.masks:
    return tuple(found.masks)
  raise config_lib.InputError(
    f'no class names: list them in {listed}, a name a line, or set '
    'config.data.classes'
  )


def _choose_masks(found: Files, config, classes) -> dict[str, dict]:
  """Returns {folder: {NAME: path}}: the one folder `masks`, or those of GT."""
  root, folders = found.root, ['masks']
  if config.data.mask == 'folders':
    folders = layout.mask_folders(classes, config.data.merge)
    have = ', '.join(found.masks) or 'none'
    for folder in folders:
      if folder not in found.masks:
        raise config_lib.InputError(
          f'{root / "GT"} has no folder {folder} (it has: {have}); correct '
          'config.data.classes, config.data.merge or config.data.mask'
        )
  elif not found.masks and (root / 'GT').is_dir():
    raise config_lib.InputError(
      f'{root} has no folder masks, but one called GT; use '
      '--config.data.mask=folders'
    )
  above = root / 'GT' if config.data.mask == 'folders' else root
  for folder in folders:
    files.check_found(above / folder, found.masks.get(folder, {}))
  return {
    folder: {name: paths[0] for name, paths in found.masks[folder].items()}
    for folder in folders
  }


def _check_lists(keys: dict, root: pathlib.Path, images: dict) -> None:
  for split, names in keys.items():
    for name in names:
      if name not in images:
        raise config_lib.InputError(
          f'{root / split}.txt names {name}, but {root / "images"} has no file '
          f'{name}.*; correct the list, without the ending'
        )


def _match(wanted: set, images: dict, masks: dict, *, is_listed: bool) -> None:
  """Refuses an image without its masks, and without lists the reverse."""
  for folder, found in masks.items():
    for name in sorted(wanted - set(found)):
      raise config_lib.InputError(
        f'image {images[name]} has no mask {name}.png in {folder}; add it, or '
        'list the images to use in train.txt'
      )
    orphans = [] if is_listed else sorted(set(found) - set(images))
    for name in orphans:
      raise config_lib.InputError(
        f'mask {found[name]} has no image {name}.* in images; add or remove it'
      )


def _check_size(image, image_path, mask, mask_path) -> None:
  if mask.shape != image.shape[:2]:
    raise config_lib.InputError(
      f'{mask_path} has {mask.shape[1]}x{mask.shape[0]} pixels, its image '
      f'{image_path} has {image.shape[1]}x{image.shape[0]}; they must agree'
    )
