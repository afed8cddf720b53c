"""A folder of images and masks: `images/NAME.*` with `masks/NAME.png` or .npy,
or `GT/<class>/NAME.png`, and lists `train.txt`, `val.txt`, `test.txt`."""

import pathlib
from typing import NamedTuple

import numpy as np

from unet_jax import errors
from unet_jax.data import files, layout, splits

MASKS = 'masks'  # The folder where there is one mask an image.
WEIGHTS = ('.npy', '.png')  # Of maps of weights.


class Files(NamedTuple):
  """What lies in a folder, whether or not it fits together."""

  root: pathlib.Path
  images: dict[str, list[pathlib.Path]]  # NAME -> its files; one is right.
  masks: dict[str, dict[str, list[pathlib.Path]]]  # Mask folder -> likewise.
  fields: dict[str, list[pathlib.Path]]  # Of view, if data.fov is a folder.
  weights: dict[str, list[pathlib.Path]]  # Maps of them, if there are any.
  lists: dict[str, list[str]]  # Of those of train.txt, val.txt and test.txt.


def scan(config) -> Files:
  """Lists the files under `config.data.root`, and judges nothing.

  Masks go by their image's name. Where all of a folder's have one and the same
  ending more, as in IDRiD_01_EX.tif beside IDRiD_01.jpg, it is left out.

  Raises:
    InputError: if there is no such folder.
  """
  if not config.data.root:
    raise errors.InputError(
      'config.data.root is empty; give the folder: --config.data.root=DIR'
    )
  root = pathlib.Path(config.data.root).expanduser().absolute()
  if not root.is_dir():
    raise errors.InputError(
      f'config.data.root: no folder {root}; give it with --config.data.root'
    )
  mask, fov = config.data.mask, config.data.fov
  images = files.by_name(root / 'images')
  masks = {
    path.name: _without_ending(files.by_name(path, _suffixes(mask)), images)
    for path in _mask_paths(root, mask)
  }
  fields, weights = {}, {}
  if fov not in ('', 'estimate'):
    fields = _without_ending(files.by_name(root / fov), images)
  if config.data.weights:
    weights = files.by_name(root / config.data.weights, WEIGHTS)
    weights = _without_ending(weights, images)
  return Files(root, images, masks, fields, weights, splits.read_lists(root))


def _mask_paths(root: pathlib.Path, mask: str) -> list[pathlib.Path]:
  """Returns the folders that hold masks: those in GT, or the one `masks`."""
  if mask == 'folders':
    return sorted(path for path in root.glob('GT/*') if path.is_dir())
  return [path for path in [root / MASKS] if path.is_dir()]


def _suffixes(mask: str) -> tuple[str, ...]:
  return ('.npy',) if mask == 'planes' else files.SUFFIXES


def _without_ending(found: dict, images: dict) -> dict:
  """Renames {NAME_ending: paths} to {NAME: paths} if all end alike."""
  if not found or found.keys() & images.keys():
    return found
  first = next(iter(found))
  for name in images:
    ending = first.removeprefix(name)
    is_ending = ending != first and ending.startswith(('_', '-', '.'))
    if is_ending and all(other.endswith(ending) for other in found):
      return {n.removesuffix(ending): paths for n, paths in found.items()}
  return found


def open_folder(config) -> layout.Layout:
  """Finds the files under `config.data.root`, and refuses what doesn't match.

  Raises:
    InputError: naming the first file, list or class that is missing.
  """
  return open_files(config, scan(config))


def open_files(config, found: Files) -> layout.Layout:
  """Does so for the files given, as `scan` finds them."""
  root, data = found.root, config.data
  files.check_found(root / 'images', found.images)
  images = {name: paths[0] for name, paths in found.images.items()}
  classes = tuple(data.classes) or _find_classes(found, config)
  masks = _choose_masks(found, config, classes)
  splits.check_lists(found.lists, root)
  _check_lists(found.lists, root, images)
  keys = splits.from_ranges(config, list(images)) or found.lists
  listed = {name for names in keys.values() for name in names}
  _match(
    listed or set(images),
    images,
    masks,
    is_listed=bool(listed),
    may_lack=config.data.missing == 'absent',
  )
  fields = _choose_fields(found, data.fov, listed or set(images))
  if found.weights:  # Which only training needs; see sources.split_keys.
    files.check_found(root / data.weights, found.weights, WEIGHTS)
  channels = files.num_channels([images[n] for n in listed or images])

  def read(name: str) -> layout.Raw:
    image, path = files.read_image(images[name], channels), images[name]
    planes = {}
    for folder, paths in masks.items():
      if name not in paths:
        planes[folder] = np.zeros(image.shape[:2], bool)
        continue
      planes[folder] = read_mask(paths[name], data.mask)
      _check_size(image, path, planes[folder], paths[name])
    field = None
    if fields:
      field = files.read_mask(fields[name], as_index=False) > 0
      _check_size(image, path, field, fields[name])
    weight_map = None
    if name in found.weights:
      weight_map = files.read_weights(found.weights[name][0])
      _check_size(image, path, weight_map, found.weights[name][0])
    more = (field, weight_map)
    if data.mask == 'folders':
      return layout.Raw(name, image, planes, name, *more)
    mask, where = planes[MASKS], str(masks[MASKS].get(name, name))
    if data.mask == 'planes':
      mask = {i: mask[..., i] for i in range(mask.shape[-1])}
    return layout.Raw(name, image, mask, where, *more)

  return layout.Layout(
    keys or {'all': sorted(images)}, read, classes, str(root)
  )


def read_mask(path: pathlib.Path, mask: str) -> np.ndarray:
  """Reads a mask as config.data.mask says."""
  if mask == 'planes':
    return files.read_planes(path)
  if mask == 'color':
    return files.read_image(path, 3)
  return files.read_mask(path, as_index=mask == 'index')


def _find_classes(found: Files, config) -> tuple[str, ...]:
  """Reads classes.txt, else takes the folders under GT."""
  listed = found.root / 'classes.txt'
  if listed.exists():
    names = [
      line.strip() for line in listed.read_text('utf-8-sig').splitlines()
    ]
    background = config.data.background
    return tuple(name for name in names if name and name != background)
  if config.data.mask == 'folders' and found.masks:
    return tuple(name for name in found.masks if name not in config.data.void)
  raise errors.InputError(
    f'no class names: list them in {listed}, a name a line, or set '
    'config.data.classes; for masks of 0 and 255 use configs/binary.py:folder'
  )


def _choose_masks(found: Files, config, classes) -> dict[str, dict]:
  """Returns {folder: {NAME: path}}: the one folder `masks`, or those of GT."""
  root, folders, above = found.root, [MASKS], found.root
  if config.data.mask == 'folders':
    folders, above = layout.mask_folders(config, classes), root / 'GT'
    have = ', '.join(found.masks) or 'none'
    for folder in folders:
      if folder not in found.masks:
        raise errors.InputError(
          f'{above} has no folder {folder} (it has: {have}); correct '
          'config.data.classes, config.data.merge or config.data.mask'
        )
  elif not found.masks and (root / 'GT').is_dir():
    raise errors.InputError(
      f'{root} has no folder masks, but one called GT; use '
      '--config.data.mask=folders'
    )
  for folder in folders:
    there = found.masks.get(folder, {})
    files.check_found(above / folder, there, _suffixes(config.data.mask))
  return {
    folder: {name: paths[0] for name, paths in found.masks[folder].items()}
    for folder in folders
  }


def _choose_fields(found: Files, fov: str, wanted: set) -> dict:
  """Returns {NAME: path} of the fields of view, if files hold them."""
  if fov in ('', 'estimate'):
    return {}
  files.check_found(found.root / fov, found.fields)
  for name in sorted(wanted - set(found.fields)):
    raise errors.InputError(
      f'image {name} has no field of view {name}.png in {found.root / fov}; '
      'add it, or use --config.data.fov=estimate'
    )
  return {name: paths[0] for name, paths in found.fields.items()}


def _check_lists(keys: dict, root: pathlib.Path, images: dict) -> None:
  for split, names in keys.items():
    for name in names:
      if name not in images:
        raise errors.InputError(
          f'{root / split}.txt names {name}, but {root / "images"} has no file '
          f'{name}.*; correct the list (names go without the ending)'
        )


def _match(
  wanted: set, images: dict, masks: dict, *, is_listed: bool, may_lack: bool
) -> None:
  """Refuses an image without its masks, and without lists the reverse."""
  for folder, found in masks.items():
    for name in [] if may_lack else sorted(wanted - set(found)):
      raise errors.InputError(
        f'image {images[name]} has no mask {name}.png in {folder}; add it, '
        'list the images to use in train.txt, or, if a missing mask means that '
        'nothing is marked, use --config.data.missing=absent'
      )
    orphans = [] if is_listed else sorted(set(found) - set(images))
    for name in orphans:
      raise errors.InputError(
        f'mask {found[name]} has no image {name}.* in images; add or remove it'
      )


def _check_size(image, image_path, mask, mask_path) -> None:
  if mask.shape[:2] != image.shape[:2]:
    raise errors.InputError(
      f'{mask_path} has {mask.shape[1]}x{mask.shape[0]} pixels, its image '
      f'{image_path} has {image.shape[1]}x{image.shape[0]}; save both at '
      'one size'
    )
