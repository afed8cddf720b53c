"""Finds masks that differ from their image in size or rotation."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from unet_jax.data.checks.finding import Finding, plural, some
from unet_jax.data.stored import SWAPPED, File


class Pair(NamedTuple):
  """An image, and the files that must have its size."""

  image: File
  masks: tuple[File, ...]


def check(pairs: Sequence[Pair]) -> list[Finding]:
  """Runs every check of this file."""
  return [*sizes(pairs), *rotated(pairs)]


def sizes(pairs: Iterable[Pair]) -> list[Finding]:
  """Finds masks of another size than their image, and transposed masks.

  `rotated` reports masks that have the image's size before EXIF rotation.
  """
  turned: list[tuple[File, File]] = []
  other: list[tuple[File, File]] = []
  for image, masks in pairs:
    for mask in masks:
      is_turned = mask.size == image.upright[::-1]
      is_explained = is_turned and image.orientation in SWAPPED
      if mask.size != image.upright and not is_explained:
        (turned if is_turned else other).append((image, mask))
  findings = []
  if turned:
    findings.append(
      Finding(
        'error',
        'transposed mask',
        text=f'{plural(len(turned), "file")} with width and height swapped: '
        f'{_with_sizes(turned)}',
        remedy='transpose them (for NumPy: mask.T) and save them again',
        files=tuple(mask.path for _, mask in turned),
        number=len(turned),
      )
    )
  if other:
    findings.append(
      Finding(
        'error',
        'size mismatch',
        text=f'{plural(len(other), "file")} of another size than the image: '
        f'{_with_sizes(other)}',
        remedy='export both again at one size (masks without interpolation)',
        files=tuple(mask.path for _, mask in other),
        number=len(other),
      )
    )
  return findings


def rotated(pairs: Iterable[Pair]) -> list[Finding]:
  """Finds images that EXIF rotates; their masks must fit the rotated image."""
  turned = [pair for pair in pairs if pair.image.orientation != 1]
  if not turned:
    return []
  fits = {_fits_upright(pair) for pair in turned}
  severity = 'error' if 'no' in fits else 'warning'
  severity = 'note' if fits == {'yes'} else severity
  how = {
    'error': 'masks have the size of the image as stored, so they do not fit',
    'warning': 'masks made from the pixels as stored would not fit',
    'note': 'masks have the size of the rotated image',
  }
  remedy = 'see the contact sheet; exiftool -Orientation= FILE removes it'
  return [
    Finding(
      severity,
      'EXIF rotation',
      text=f'{plural(len(turned), "image")} with an EXIF rotation, which '
      f'training and viewers follow: {how[severity]}',
      remedy='' if severity == 'note' else remedy,
      files=tuple(pair.image.path for pair in turned),
      number=len(turned),
    )
  ]


def _fits_upright(pair: Pair) -> str:
  """Returns whether masks are rotated as EXIF says: yes, no or maybe."""
  size = pair.image.upright
  if pair.image.orientation not in SWAPPED or size[0] == size[1]:
    return 'maybe'
  return 'yes' if {mask.size for mask in pair.masks} <= {size} else 'no'


def _with_sizes(pairs: Sequence[tuple[File, File]]) -> str:
  return some(
    [
      f'{mask.path} {"x".join(map(str, mask.size))}, image '
      f'{"x".join(map(str, image.size))}'
      for image, mask in pairs
    ]
  )
