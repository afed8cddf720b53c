"""Reads the masks of a second observer, of the images of a split."""

import pathlib

from unet_jax import errors
from unet_jax.data import folder as folder_lib
from unet_jax.data import reading, scan, sources
from unet_jax.data.checks import finding
from unet_jax.data.spec import Spec


def open_masks(
  spec: Spec, folder: pathlib.Path, split: sources.Source
) -> sources.Source:
  """Opens a split whose labels come from another folder of masks.

  Args:
    spec: the settings of the run's data; the masks are stored alike.
    folder: holds NAME.png, or NAME_ending.png, for each image of the split.
    split: the split, with the run's own labels.

  Raises:
    InputError: if the data has no such masks, or one is missing.
  """
  if spec.source != 'folder' or spec.masks.kind == 'folders':
    raise errors.InputError(
      '--masks: it needs data from a folder with one file of masks per image, '
      f'not config.data.source={spec.source} with '
      f'config.data.masks.kind={spec.encoding}'
    )
  files = scan.list_files(spec)
  suffixes = scan.mask_suffixes(spec)
  masks = scan.list_masks(folder, files.images, suffixes)
  names = list(split.keys)
  missing = [name for name in names if name not in masks]
  if missing:
    raise errors.InputError(
      f'--masks: {folder} lacks the masks of {finding.some(missing, 3)}; it '
      f'needs one for each of the {len(names)} images of the split'
    )
  # Masks, fields and lists of other images would be refused.
  files = files._replace(
    images={name: files.images[name] for name in names},
    masks={scan.MASKS: {name: masks[name] for name in names}},
    fields={name: files.fields[name] for name in names if files.fields},
    weights={},
    lists={},
  )
  whole = spec.split._replace(train='', val='', test='')
  opened = folder_lib.open_files(spec._replace(split=whole), files)
  return sources.Source(names, reading.make_reader(spec, opened))
