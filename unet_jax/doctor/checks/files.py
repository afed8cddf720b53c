"""Files that are missing, don't match, or can't be read."""

import difflib
from collections.abc import Iterable, Sequence

from unet_jax import errors
from unet_jax.data import layout, splits
from unet_jax.data.checks.finding import Finding, flag, plural, some
from unet_jax.doctor.statistics import SWAPPED, Stored
from unet_jax.doctor.survey import Record, Survey


def missing(survey: Survey) -> list[Finding]:
  """Finds images without a mask, and masks without an image."""
  if survey.files is None:
    return []
  found, findings = survey.files, []
  listed = _listed(survey)
  wanted = listed & set(found.images) if listed else set(found.images)
  data, absent = survey.config.data, ''
  if data.mask in ('binary', 'folders'):
    absent = ', or if none means that nothing is marked: '
    absent += flag('data.missing', 'absent')
  for folder, masks in found.masks.items():
    if data.mask == 'folders' and folder not in _mask_folders(survey):
      continue
    lacking = [] if data.missing == 'absent' else sorted(wanted - set(masks))
    spare = sorted(set(masks) - set(found.images))
    if not masks:
      findings.append(_empty(survey, folder))
    elif lacking:
      findings.append(
        Finding(
          'error',
          'image without mask',
          text=f'{plural(len(lacking), "image")} without a mask in {folder}: '
          f'{_with_nearest(lacking, spare)}',
          remedy=f'name each mask in {folder} as its image, or list the images '
          f'to use in train.txt{absent}',
          files=tuple(str(found.images[name][0]) for name in lacking),
          number=len(lacking),
        )
      )
    if spare:
      findings.append(
        Finding(
          'note' if listed else 'error',
          'mask without image',
          text=f'{plural(len(spare), "mask")} in {folder} without an image: '
          f'{_with_nearest(spare, lacking)}',
          remedy='name each mask as its image, or remove it',
          files=tuple(str(masks[name][0]) for name in spare),
          number=len(spare),
        )
      )
  return findings


def _empty(survey: Survey, folder: str) -> Finding:
  """Says that no image has a mask in a folder, which training refuses."""
  data = survey.config.data
  masks = survey.files.masks
  others = tuple(name for name in _mask_folders(survey) if masks.get(name))
  is_class = data.mask == 'folders' and others and not (data.merge or data.void)
  return Finding(
    'error',
    'empty mask folder',
    text=f'the folder {folder} holds no mask',
    remedy='put them there, or, if nothing is marked so, leave it out',
    number=1,
    settings={'data.classes': others} if is_class else {},
  )


def _mask_folders(survey: Survey) -> list[str]:
  """Returns the folders under GT that training reads."""
  # A set that is refused has no classes yet.
  classes = (
    survey.classes or survey.config.data.classes or tuple(survey.files.masks)
  )
  return layout.mask_folders(survey.config, classes)


def ambiguous(survey: Survey) -> list[Finding]:
  """Finds names that several files have: a.png and a.jpg."""
  if survey.files is None:
    return []
  places = (survey.files.images, *survey.files.masks.values())
  several = [x for place in places for x in place.values() if len(x) > 1]
  if not several:
    return []
  shown = [' and '.join(path.name for path in paths) for paths in several]
  return [
    Finding(
      'error',
      'ambiguous pair',
      text=f'{plural(len(several), "name")} with more than one file: '
      f'{some(shown)}',
      remedy='keep one file a name',
      files=tuple(str(path) for paths in several for path in paths),
      number=len(several),
    )
  ]


def lists(survey: Survey) -> list[Finding]:
  """Finds names in the lists without a file, listed twice, or not listed."""
  if survey.files is None or not survey.files.lists:
    return []
  found, findings, where = survey.files, [], {}
  for split, names in found.lists.items():
    path = str(found.root / f'{split}.txt')
    lacking = [name for name in names if name not in found.images]
    if lacking:
      findings.append(
        Finding(
          'error',
          'listed without file',
          text=f'{path} names {plural(len(lacking), "image")} that images does '
          f'not have: {_with_nearest(lacking, found.images)}',
          remedy='correct the list; names go without the ending',
          files=(path,),
          number=len(lacking),
        )
      )
    for name in names:
      where.setdefault(name, []).append(split)
  twice = {name: seen for name, seen in where.items() if len(seen) > 1}
  if twice:
    shown = [f'{name} in {" and ".join(x)}' for name, x in twice.items()]
    findings.append(
      Finding(
        'error',
        'listed twice',
        text=f'{plural(len(twice), "name")} listed more than once: '
        f'{some(shown)}',
        remedy='list a name once, or scores mean nothing',
        files=tuple(f'{found.root / x}.txt' for x in found.lists),
        number=len(twice),
      )
    )
  unlisted = sorted(set(found.images) - set(where))
  if unlisted:
    findings.append(
      Finding(
        'note',
        'unlisted images',
        text=f'{len(unlisted)} of {len(found.images)} images are in no list, '
        f'and not used: {some(unlisted)}',
        remedy=f'add them to {" or ".join(f"{x}.txt" for x in splits.SPLITS)}',
        files=tuple(str(found.images[name][0]) for name in unlisted),
        number=len(unlisted),
      )
    )
  return findings


def sizes(survey: Survey) -> list[Finding]:
  """Finds masks of another size than their image, and those on their side."""
  turned, other = [], []
  for record, mask in _masks(survey):
    if record.image and mask.size != record.image.upright:
      is_turned = mask.size == record.image.upright[::-1]
      if not (is_turned and record.image.orientation in SWAPPED):
        (turned if is_turned else other).append((record, mask))
  findings = []
  if turned:
    findings.append(
      Finding(
        'error',
        'transposed mask',
        text=f'{plural(len(turned), "mask")} with width and height swapped: '
        f'{_with_sizes(turned)}',
        remedy='transpose the masks (for NumPy: mask.T) and save them again',
        files=tuple(mask.path for _, mask in turned),
        number=len(turned),
      )
    )
  if other:
    findings.append(
      Finding(
        'error',
        'size mismatch',
        text=f'{plural(len(other), "mask")} of another size than the image: '
        f'{_with_sizes(other)}',
        remedy='export them again at one size (masks without interpolation)',
        files=tuple(mask.path for _, mask in other),
        number=len(other),
      )
    )
  return findings


def rotated(survey: Survey) -> list[Finding]:
  """Finds images that are turned by their EXIF; masks are to fit them so."""
  turned = [
    record
    for record in survey.records
    if record.image and record.image.orientation != 1
  ]
  if not turned:
    return []
  fits = {_fits_upright(record) for record in turned}
  severity = 'error' if 'no' in fits else 'warning'
  severity = 'note' if fits == {'yes'} else severity
  how = {
    'error': 'masks have the size of the image as stored, so they do not fit',
    'warning': 'masks made from the pixels as stored would not fit',
    'note': 'masks have the size that it then has',
  }
  return [
    Finding(
      severity,
      'EXIF rotation',
      text=f'{plural(len(turned), "image")} with an EXIF rotation, which '
      f'training and viewers follow: {how[severity]}',
      remedy=''
      if severity == 'note'
      else 'look at the contact sheet; exiftool -Orientation= FILE drops it',
      files=tuple(record.image.path for record in turned),
      number=len(turned),
    )
  ]


def unreadable(survey: Survey) -> list[Finding]:
  """Finds files that can't be decoded."""
  damaged = [x for record in survey.records for x in record.damaged]
  if not damaged:
    return []
  return [
    Finding(
      'error',
      'unreadable file',
      text=f'{plural(len(damaged), "file")} can not be decoded: '
      f'{some([f"{path} ({reason})" for path, reason in damaged])}',
      remedy='restore or remove them',
      files=tuple(path for path, _ in damaged),
      number=len(damaged),
    )
  ]


def _fits_upright(record: Record) -> str:
  """Tells by the masks' sizes whether they follow the EXIF: yes, no, maybe."""
  size = record.image.upright
  if record.image.orientation not in SWAPPED or size[0] == size[1]:
    return 'maybe'
  return 'yes' if {x.size for x in record.masks.values()} <= {size} else 'no'


def _listed(survey: Survey) -> set[str]:
  """Returns the names that lists, or else ranges in the config, choose."""
  lists = survey.files.lists
  try:
    ranges = splits.from_ranges(survey.config, list(survey.files.images))
  except errors.InputError:
    ranges = {}  # It is refused.
  return {name for names in (ranges or lists).values() for name in names}


def _masks(survey: Survey) -> Iterable[tuple[Record, Stored]]:
  for record in survey.records:
    for mask in record.masks.values():
      yield record, mask


def _with_sizes(pairs: Sequence[tuple[Record, Stored]]) -> str:
  return some(
    [
      f'{mask.path} {"x".join(map(str, mask.size))}, image '
      f'{"x".join(map(str, record.image.size))}'
      for record, mask in pairs
    ]
  )


def _with_nearest(names: Sequence[str], others: Iterable[str]) -> str:
  """Lists names, each with that of the others which is most like it."""
  shown = []
  for name in names[:3]:
    near = difflib.get_close_matches(name, list(others), n=1)
    shown.append(f'{name} (nearest: {near[0]})' if near else name)
  return some(shown + list(names[3:]))
