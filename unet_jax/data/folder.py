"""A folder of images and masks: `images/NAME.*` with `masks/NAME.png`, or
`GT/<class>/NAME.png`, and lists `train.txt`, `val.txt`, `test.txt`."""

import pathlib

import numpy as np

from unet_jax import config as config_lib
from unet_jax.data import files, layout, splits


def open_folder(config) -> layout.Layout:
  """Finds the files under `config.data.root`, and refuses what doesn't match.

  Raises:
    InputError: naming the first file, list or class that is missing.
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
  images = files.find(root / 'images')
  classes = tuple(config.data.classes) or _find_classes(root, config.data.mask)
  masks = _find_masks(root, config, classes)
  keys = splits.from_lists(root)
  _check_lists(keys, root, images)
  listed = {name for names in keys.values() for name in names}
  _match(listed or set(images), images, masks, is_listed=bool(listed))
  channels = files.num_channels([images[n] for n in listed or images])

  def read(name: str) -> layout.Raw:
    image = files.read_image(images[name], channels)
    planes = {}
    for folder, found in masks.items():
      planes[folder] = files.read_mask(
        found[name], as_index=config.data.mask == 'index'
      )
      _check_size(image, images[name], planes[folder], found[name])
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


def _find_classes(root: pathlib.Path, mask: str) -> tuple[str, ...]:
  """Reads classes.txt, else takes the folders under GT."""
  listed = root / 'classes.txt'
  if listed.exists():
    names = [
      line.strip() for line in listed.read_text('utf-8-sig').splitlines()
    ]
    return tuple(name for name in names if name and name != 'background')
  if mask == 'folders' and (root / 'GT').is_dir():
    return tuple(sorted(p.name for p in (root / 'GT').iterdir() if p.is_dir()))
  raise config_lib.InputError(
    f'no class names: list them in {listed}, a name a line, or set '
    'config.data.classes'
  )


def _find_masks(root: pathlib.Path, config, classes) -> dict[str, dict]:
  """Returns {folder: {NAME: path}}: the one folder `masks`, or those of GT."""
  if config.data.mask != 'folders':
    if not (root / 'masks').is_dir() and (root / 'GT').is_dir():
      raise config_lib.InputError(
        f'{root} has no folder masks, but one called GT; use '
        '--config.data.mask=folders'
      )
    return {'masks': files.find(root / 'masks')}
  folders = layout.mask_folders(classes, config.data.merge)
  there = root / 'GT'
  have = sorted(p.name for p in there.iterdir()) if there.is_dir() else []
  for folder in folders:
    if folder not in have:
      raise config_lib.InputError(
        f'{there} has no folder {folder} (it has: {", ".join(have) or "none"});'
        ' correct config.data.classes, config.data.merge or config.data.mask'
      )
  return {folder: files.find(there / folder) for folder in folders}


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
