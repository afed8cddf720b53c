"""Finds folders and files that are missing, or don't match by their names.

Training refuses the first of these errors; the doctor reports all.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence

from unet_jax import errors
from unet_jax.data import layout, opening, scan, splits
from unet_jax.data.checks import lists
from unet_jax.data.checks.finding import (
  Finding,
  flag,
  plural,
  some,
  with_nearest,
)
from unet_jax.data.spec import Spec

Masks = Mapping[str, scan.Paths]  # By mask folder.


def check(
  scanned: scan.Files, spec: Spec, classes: Sequence[str]
) -> list[Finding]:
  """Runs every check of this file and of lists.py.

  Args:
    scanned: the files of a folder.
    spec: the settings with which the files were listed.
    classes: the foreground classes, which decide the mask folders to read.
  """
  masks, wanted = dict(scanned.masks), _wanted(scanned, spec)
  if spec.masks.kind == 'folders':
    names = layout.mask_folders(spec.masks, classes)
    masks = {name: scanned.masks.get(name, {}) for name in names}
  named = (scanned.images, *masks.values(), scanned.fields, scanned.weights)
  return [
    *folders(scanned, spec, masks),
    *ambiguous(named),
    *left_out(_read_folders(scanned, spec, masks)),
    *lists.check(scanned),
    *without_mask(scanned, spec, masks, wanted),
    *without_image(scanned, spec, masks, wanted),
    *without_view(scanned, spec, wanted),
  ]


def folders(scanned: scan.Files, spec: Spec, masks: Masks) -> list[Finding]:
  """Finds folders that don't exist or have no file."""
  root, suffixes = scanned.root, scan.mask_suffixes(spec)
  images = scanned.images
  findings = holds_files(root / 'images', images, opening.IMAGES)
  if spec.masks.kind == 'folders':
    findings += _class_folders(scanned, spec, masks)
  elif not masks and (root / 'GT').is_dir():
    findings.append(
      Finding(
        'error',
        'no folder',
        text=f'{root} has no folder masks, but one called GT',
        number=1,
        settings={'data.masks.kind': 'folders'},
      )
    )
  else:
    paths = masks.get(scan.MASKS, {})
    findings += holds_files(root / scan.MASKS, paths, suffixes)
  if scan.has_field_files(spec):
    findings += holds_files(root / spec.fov, scanned.fields)
  return findings


def _class_folders(
  scanned: scan.Files, spec: Spec, masks: Masks
) -> list[Finding]:
  """Finds class folders that are missing in GT, or have no file."""
  parent, listed = scanned.root / 'GT', ', '.join(scanned.masks) or 'none'
  filled = tuple(name for name, paths in masks.items() if paths)
  is_plain = filled and not (spec.masks.merge or spec.masks.void)
  findings = []
  for name, paths in masks.items():
    if name in scanned.masks:
      findings += [
        finding._replace(
          remedy='add masks, or, if no image has the class, leave it out',
          settings={'data.classes': filled} if is_plain else {},
        )
        for finding in holds_files(parent / name, paths)
      ]
    else:
      findings.append(
        Finding(
          'error',
          'no folder',
          text=f'{parent} has no folder {name} (it has: {listed})',
          remedy='correct config.data.classes, config.data.masks.merge or '
          'config.data.masks.kind',
          number=1,
        )
      )
  return findings


def holds_files(
  folder: pathlib.Path,
  paths: scan.Paths,
  suffixes: Sequence[str] = opening.SUFFIXES,
) -> list[Finding]:
  """Finds a folder that doesn't exist, or has no file with these suffixes."""
  if paths:
    return []
  if not folder.is_dir():
    return [
      Finding(
        'error',
        'no folder',
        text=f'{folder}: no such folder',
        remedy=f'put the files there, or correct the path before {folder.name}',
        number=1,
      )
    ]
  below = [
    x.name for x in sorted(folder.iterdir()) if scan.by_name(x, suffixes)
  ]
  if below:
    return [
      Finding(
        'error',
        'empty folder',
        text=f'{folder} has no file itself, only folders with files '
        f'({some(below)}), which are not searched',
        remedy=f'move the files into {folder}, each name once',
        number=1,
      )
    ]
  return [
    Finding(
      'error',
      'empty folder',
      text=f'{folder} has no file {", ".join(suffixes)}',
      remedy='add files, or name another folder',
      number=1,
    )
  ]


def _read_folders(
  scanned: scan.Files, spec: Spec, masks: Masks
) -> dict[pathlib.Path, Sequence[str]]:
  """Returns the folders that are read, and the endings of their files."""
  root = scanned.root
  parent = root / 'GT' if spec.masks.kind == 'folders' else root
  read: dict[pathlib.Path, Sequence[str]] = {root / 'images': opening.IMAGES}
  read |= {parent / name: scan.mask_suffixes(spec) for name in masks}
  if scan.has_field_files(spec):
    read[root / spec.fov] = opening.SUFFIXES
  if spec.weights:
    read[root / spec.weights] = scan.WEIGHTS
  return read


def left_out(
  read: Mapping[pathlib.Path, Sequence[str]],
) -> list[Finding]:
  """Finds files that are not read.

  Args:
    read: folder -> endings of the files that are read of it.
  """
  findings = []
  for folder, suffixes in read.items():
    paths = scan.left_out(folder, suffixes)
    if paths:
      findings.append(
        Finding(
          'warning',
          'left out',
          text=f'{plural(len(paths), "file")} in {folder} left out (an ending '
          'that is not read, a name that is taken, or no regular file): '
          f'{some([path.name for path in paths])}',
          remedy=f'save what is needed as {suffixes[0]}, each name once',
          files=tuple(map(str, paths)),
          number=len(paths),
        )
      )
  return findings


def ambiguous(folders: Iterable[scan.Paths]) -> list[Finding]:
  """Finds names that several files of a folder have: a.png and a.jpg."""
  several = [x for paths in folders for x in paths.values() if len(x) > 1]
  if not several:
    return []
  shown = [' and '.join(path.name for path in paths) for paths in several]
  return [
    Finding(
      'error',
      'ambiguous pair',
      text=f'{plural(len(several), "name")} with more than one file: '
      f'{some(shown)}',
      remedy='keep one file per name',
      files=tuple(str(path) for paths in several for path in paths),
      number=len(several),
    )
  ]


def without_mask(
  scanned: scan.Files, spec: Spec, masks: Masks, wanted: set[str]
) -> list[Finding]:
  """Finds images without a mask, unless the config says what that means."""
  absent, findings = '', []
  if spec.masks.kind in ('binary', 'folders'):
    absent = ', or, if no mask means that nothing is marked, use '
    absent += flag('data.masks.missing', 'absent')
  for folder, paths in masks.items():
    lacking = sorted(wanted - set(paths))
    spare = sorted(set(paths) - set(scanned.images))
    if paths and lacking and spec.masks.missing != 'absent':
      findings.append(
        Finding(
          'error',
          'image without mask',
          text=f'{plural(len(lacking), "image")} without a mask in {folder}: '
          f'{with_nearest(lacking, spare)}',
          remedy=f'name each mask in {folder} like its image, or list the '
          f'images to use in train.txt{absent}',
          files=_first(scanned.images, lacking),
          number=len(lacking),
        )
      )
  return findings


def without_image(
  scanned: scan.Files, spec: Spec, masks: Masks, wanted: set[str]
) -> list[Finding]:
  """Finds masks without an image; a note where lists choose images."""
  ranges = (spec.split.train, spec.split.val, spec.split.test)
  is_chosen = bool(scanned.lists) or any(ranges)
  findings = []
  for folder, paths in masks.items():
    spare = sorted(set(paths) - set(scanned.images))
    if scanned.images and spare:
      findings.append(
        Finding(
          'note' if is_chosen else 'error',
          'mask without image',
          text=f'{plural(len(spare), "mask")} in {folder} without an image: '
          f'{with_nearest(spare, sorted(wanted - set(paths)))}',
          remedy='name each mask like its image, or remove it',
          files=_first(paths, spare),
          number=len(spare),
        )
      )
  return findings


def without_view(
  scanned: scan.Files, spec: Spec, wanted: set[str]
) -> list[Finding]:
  """Finds images without a mask of the field of view."""
  lacking = sorted(wanted - set(scanned.fields))
  if not (scanned.fields and lacking):
    return []
  folder = scanned.root / spec.fov
  return [
    Finding(
      'error',
      'image without field of view',
      text=f'{plural(len(lacking), "image")} without a field of view in '
      f'{folder}: {with_nearest(lacking, scanned.fields)}',
      remedy='add it, or estimate it',
      files=_first(scanned.images, lacking),
      number=len(lacking),
      settings={'data.fov': 'estimate'},
    )
  ]


def _wanted(scanned: scan.Files, spec: Spec) -> set[str]:
  """Returns the images that the ranges or else the lists choose."""
  images = set(scanned.images)
  if not images:
    return images
  try:
    ranges = splits.from_ranges(spec.split, images)
  except errors.InputError:
    return set()  # Opening the data set reports the ranges.
  lists = ranges or scanned.lists
  listed = {name for names in lists.values() for name in names}
  return listed & images if listed else images


def _first(paths: scan.Paths, names: Iterable[str]) -> tuple[str, ...]:
  return tuple(str(paths[name][0]) for name in names)
