"""Lists the files of a folder of images and masks, without checking them."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from unet_jax import errors
from unet_jax.data import files, splits
from unet_jax.data.spec import Spec

MASKS = 'masks'  # Folder of masks, if there is one mask per image.
WEIGHTS = ('.npy', '.png')  # Suffixes of maps of weights.

Paths = dict[str, list[pathlib.Path]]  # NAME -> its files; one is right.


class Files(NamedTuple):
  """The files of a folder, whether or not they match."""

  root: pathlib.Path
  images: Paths
  masks: dict[str, Paths]  # By mask folder.
  fields: Paths  # Masks of the field of view, if a folder has them.
  weights: Paths  # Maps of weights, if there are any.
  lists: dict[str, list[str]]  # Split -> names, if its list exists.


def list_files(spec: Spec) -> Files:
  """Lists the files under `spec.root`.

  A mask has the name of its image. If all masks of a folder add the same ending
  to it, as IDRiD_01_EX.tif does to IDRiD_01.jpg, the ending is dropped.

  Raises:
    InputError: if there is no such folder.
  """
  if not spec.root:
    raise errors.InputError(
      'config.data.root is empty; give the folder: --config.data.root=DIR'
    )
  root = pathlib.Path(spec.root).expanduser().absolute()
  if not root.is_dir():
    raise errors.InputError(
      f'config.data.root: no folder {root}; give it with --config.data.root'
    )
  images = by_name(root / 'images')

  def list_masks(
    folder: pathlib.Path, suffixes: Sequence[str] = files.SUFFIXES
  ) -> Paths:
    return _without_ending(by_name(folder, suffixes), images)

  return Files(
    root=root,
    images=images,
    masks={
      folder.name: list_masks(folder, mask_suffixes(spec))
      for folder in _mask_folders(root, spec)
    },
    fields=list_masks(root / spec.fov) if has_field_files(spec) else {},
    weights=list_masks(root / spec.weights, WEIGHTS) if spec.weights else {},
    lists=splits.read_lists(root),
  )


def by_name(
  folder: pathlib.Path, suffixes: Sequence[str] = files.SUFFIXES
) -> Paths:
  """Returns {NAME: paths} of the files directly in `folder`, if it exists."""
  paths: Paths = {}
  for path in sorted(folder.iterdir()) if folder.is_dir() else ():
    if path.suffix.lower() in suffixes and not path.name.startswith('.'):
      paths.setdefault(path.stem, []).append(path)
  return paths


def mask_suffixes(spec: Spec) -> tuple[str, ...]:
  """Returns the suffixes that files of masks may have."""
  return ('.npy',) if spec.masks.kind == 'planes' else files.SUFFIXES


def has_field_files(spec: Spec) -> bool:
  """Returns whether the field of view is read from files."""
  return spec.fov not in ('', 'estimate')


def _mask_folders(root: pathlib.Path, spec: Spec) -> list[pathlib.Path]:
  """Returns the folders that hold masks: those in GT, or the one `masks`."""
  if spec.masks.kind == 'folders':
    return sorted(path for path in root.glob('GT/*') if path.is_dir())
  return [path for path in [root / MASKS] if path.is_dir()]


def _without_ending(masks: Paths, images: Paths) -> Paths:
  """Renames {NAME_ending: paths} to {NAME: paths} if all endings are equal."""
  if not masks or masks.keys() & images.keys():
    return masks
  first = next(iter(masks))
  for name in images:
    ending = first.removeprefix(name)
    is_ending = ending != first and ending.startswith(('_', '-', '.'))
    if is_ending and all(other.endswith(ending) for other in masks):
      return {n.removesuffix(ending): paths for n, paths in masks.items()}
  return masks
