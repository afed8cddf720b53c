"""Finds lists that are empty, repeat a name, or don't match the images."""

from unet_jax.data import scan, splits
from unet_jax.data.checks.finding import Finding, plural, some, with_nearest


def check(scanned: scan.Files) -> list[Finding]:
  """Runs every check of this file."""
  if not scanned.lists:
    return []
  return [
    *empty(scanned),
    *without_train(scanned),
    *without_image(scanned),
    *repeated(scanned),
    *unlisted(scanned),
  ]


def empty(scanned: scan.Files) -> list[Finding]:
  """Finds empty lists."""
  paths = [_path(scanned, x) for x, names in scanned.lists.items() if not names]
  return [
    Finding(
      'error',
      'empty list',
      text=f'{path} is empty',
      remedy='list one name per line',
      files=(path,),
      number=1,
    )
    for path in paths
  ]


def without_train(scanned: scan.Files) -> list[Finding]:
  """Finds that there is a list of val or test, and none of train."""
  if 'train' in scanned.lists:
    return []
  return [
    Finding(
      'error',
      'no train list',
      text=f'{scanned.root} has {next(iter(scanned.lists))}.txt but no '
      'train.txt',
      remedy='add it, with one name per line',
      number=1,
    )
  ]


def without_image(scanned: scan.Files) -> list[Finding]:
  """Finds listed names that no image has."""
  findings = []
  for split, names in scanned.lists.items():
    lacking = [name for name in names if name not in scanned.images]
    if lacking:
      findings.append(
        Finding(
          'error',
          'listed without file',
          text=f'{_path(scanned, split)} names '
          f'{plural(len(lacking), "image")} that the folder images lacks: '
          f'{with_nearest(lacking, scanned.images)}',
          remedy='correct the list; write names without the suffix',
          files=(_path(scanned, split),),
          number=len(lacking),
        )
      )
  return findings


def repeated(scanned: scan.Files) -> list[Finding]:
  """Finds names that are listed more than once."""
  where: dict[str, list[str]] = {}
  for split, names in scanned.lists.items():
    for name in names:
      where.setdefault(name, []).append(split)
  twice = {name: lists for name, lists in where.items() if len(lists) > 1}
  if not twice:
    return []
  shown = [f'{name} in {" and ".join(x)}' for name, x in twice.items()]
  return [
    Finding(
      'error',
      'listed twice',
      text=f'{plural(len(twice), "name")} listed more than once: {some(shown)}',
      remedy='list each name once, or scores mean nothing',
      files=tuple(_path(scanned, split) for split in scanned.lists),
      number=len(twice),
    )
  ]


def unlisted(scanned: scan.Files) -> list[Finding]:
  """Finds images that no list names."""
  names = sorted(set(scanned.images).difference(*scanned.lists.values()))
  if not names:
    return []
  return [
    Finding(
      'note',
      'unlisted images',
      text=f'{len(names)} of {len(scanned.images)} images are in no list, so '
      f'training does not use them: {some(names)}',
      remedy=f'add them to {" or ".join(f"{x}.txt" for x in splits.SPLITS)}',
      files=tuple(str(scanned.images[name][0]) for name in names),
      number=len(names),
    )
  ]


def _path(scanned: scan.Files, split: str) -> str:
  return str(scanned.root / f'{split}.txt')
