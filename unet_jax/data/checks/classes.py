"""Finds classes that are absent, rare, everywhere, or shifted between splits.

These checks need only counts, so every run makes them before it trains.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unet_jax.data import stats
from unet_jax.data.checks.finding import Finding, percent, some

FEW_IMAGES = 5  # A class in fewer train images is rare.
FEW_PIXELS = 0.001  # Share of train below which cross entropy ignores a class.
MOST = 0.9  # Share of train's pixels above which masks may be inverted.
MANY_EMPTY = 0.5  # Share of train's images that may lack foreground.
CHANCE = 0.001  # Probability of a false alarm over all classes and splits.
EFFECT = 0.2  # Least reported difference between two shares of images.


class Tally(NamedTuple):
  """Pixel counts of the labels of a split."""

  counts: np.ndarray  # int64[N, K], pixels of each foreground class.
  pixels: np.ndarray  # int64[N], pixels that are not void.
  void: np.ndarray  # int64[N]
  names: Sequence[str] = ()  # N names or paths of images, if they are known.


def make_tally(images: Sequence[stats.Counts]) -> Tally:
  """Collects the counts of a split's images."""
  return Tally(
    counts=np.array([image.classes for image in images]),
    pixels=np.array([image.pixels - image.void for image in images]),
    void=np.array([image.void for image in images]),
    names=[image.name for image in images],
  )


def check(
  tallies: Mapping[str, Tally], classes: Sequence[str], encoding: str
) -> list[Finding]:
  """Runs every check of this file."""
  return [
    *absent(tallies, classes, encoding),
    *rare(tallies['train'], classes),
    *inside_out(tallies['train'], classes),
    *everywhere(tallies['train'], classes),
    *empty(tallies),
    *shift({k: x.counts > 0 for k, x in tallies.items()}, classes),
  ]


def absent(
  tallies: Mapping[str, Tally], classes: Sequence[str], encoding: str
) -> list[Finding]:
  """Finds classes of which a split has no pixel.

  Args:
    tallies: split -> its tally.
    classes: K names of the foreground classes.
    encoding: of the masks; in `index` 255 is void, but may mean foreground.
  """
  findings = _nothing(tallies['train'], classes, encoding)
  for split, tally in tallies.items():
    total = tally.counts.sum(axis=0)
    lacking = [name for name, n in zip(classes, total, strict=True) if not n]
    if not lacking or (split == 'train' and len(lacking) == len(classes)):
      continue  # See `_nothing`.
    effect = 'there is no score for it'
    remedy = f'move images that have it to {split}'
    if split == 'train':
      effect = 'it cannot be learnt'
      remedy = 'add images that have it, or leave it out of config.data.classes'
    findings.append(
      Finding(
        'warning',
        'absent class',
        text=f'{_no_pixel(split, lacking)}: {effect}',
        remedy=remedy,
        number=len(lacking),
      )
    )
  return findings


def _nothing(
  train: Tally, classes: Sequence[str], encoding: str
) -> list[Finding]:
  """Finds a train split without any foreground, or with all of it void."""
  if train.counts.any():
    return []
  text, void = _no_pixel('train', classes), int(train.void.sum())
  if encoding == 'index' and void:
    is_binary = len(classes) == 1
    return [
      Finding(
        'error',
        'foreground is void',
        text=f'{text}, and {void} are 255, which is void in an index mask',
        remedy='if 255 means foreground'
        if is_binary
        else 'correct the masks or config.data.masks.kind',
        number=void,
        settings={'data.masks.kind': 'binary'} if is_binary else {},
      )
    ]
  return [
    Finding(
      'error',
      'absent class',
      text=text,
      remedy='correct config.data.classes, config.data.masks.kind or the masks',
      number=len(classes),
    )
  ]


def _no_pixel(split: str, classes: Sequence[str]) -> str:
  return f'no pixel of the {split} split is {" or ".join(classes)}'


def rare(train: Tally, classes: Sequence[str]) -> list[Finding]:
  """Finds classes that few images or few pixels of train have."""
  findings = []
  pixels = max(1, int(train.pixels.sum()))
  for k, name in enumerate(classes):
    images = int(np.count_nonzero(train.counts[:, k]))
    share = train.counts[:, k].sum() / pixels
    if 0 < images < FEW_IMAGES and images < len(train.counts):
      findings.append(
        Finding(
          'warning',
          'rare class',
          text=f'only {images} of {len(train.counts)} train images have {name}',
          remedy='add images, or merge it with another class '
          '(config.data.masks.merge)',
          number=images,
        )
      )
    if 0 < share < FEW_PIXELS:
      findings.append(
        Finding(
          'note',
          'rare class',
          text=f"{name} is {percent(share)} of train's pixels: cross "
          'entropy hardly depends on it',
          remedy='keep a Dice term in the loss',
          number=int(train.counts[:, k].sum()),
        )
      )
  return findings


def inside_out(train: Tally, classes: Sequence[str]) -> list[Finding]:
  """Finds a single class that most pixels of train have."""
  share = train.counts.sum() / max(1, train.pixels.sum())
  if len(classes) > 1 or share < MOST:
    return []
  return [
    Finding(
      'warning',
      'mostly foreground',
      text=f"{classes[0]} is {percent(share)} of train's pixels: the masks may "
      'be inverted',
      remedy='if they are, invert them; for masks of 0 and 255, use '
      f"config.data.masks.merge={{'background': (255,), '{classes[0]}': (0,)}}",
      number=int(train.counts.sum()),
    )
  ]


def everywhere(train: Tally, classes: Sequence[str]) -> list[Finding]:
  """Finds classes that every image of train has."""
  always = (train.counts > 0).all(axis=0)
  names = [name for name, x in zip(classes, always, strict=True) if x]
  if not names or len(train.counts) < 2:
    return []
  verb = 'is' if len(names) == 1 else 'are'
  return [
    Finding(
      'note',
      'present in all',
      text=f'{", ".join(names)} {verb} in all {len(train.counts)} train '
      'images: the model sees no negative example',
      remedy='if images without it will occur, add some',
      number=len(names),
    )
  ]


def empty(tallies: Mapping[str, Tally]) -> list[Finding]:
  """Finds images without any foreground."""
  parts, worst = [], 0.0
  files: list[str] = []
  for split, tally in tallies.items():
    is_empty = tally.counts.sum(axis=1) == 0
    files += itertools.compress(tally.names, is_empty)
    count = int(np.count_nonzero(is_empty))
    if count:
      parts.append(f'{count} of {len(tally.counts)} {split} images')
      if split == 'train':
        worst = count / len(tally.counts)
  if not parts:
    return []
  return [
    Finding(
      'warning' if worst > MANY_EMPTY else 'note',
      'empty images',
      text=f'{" and ".join(parts)} have no foreground',
      remedy='if their masks are missing rather than empty, leave these '
      'images out of train.txt'
      if worst > MANY_EMPTY
      else '',
      files=tuple(files),
      number=sum(int(part.split()[0]) for part in parts),
    )
  ]


def shift(
  present: Mapping[str, np.ndarray], names: Sequence[str]
) -> list[Finding]:
  """Finds classes that far more or fewer images of train have than of a split.

  Reports a class if its shares of images differ by 0.2 or more, and Fisher's
  exact test, two-sided, is significant at 0.001 over all tests together
  (Bonferroni).

  Args:
    present: split -> bool[N, K], whether an image has the class.
    names: K names of the classes.
  """
  others = [split for split in present if split != 'train']
  tests = itertools.product(others, range(len(names)))
  chance = CHANCE / max(1, len(others) * len(names))
  parts = []
  for split, k in tests:
    a, n = int(present['train'][:, k].sum()), len(present['train'])
    b, m = int(present[split][:, k].sum()), len(present[split])
    p = fisher_exact(a, n, b, m)
    if p < chance and abs(a / n - b / m) >= EFFECT:
      parts.append(
        (p, f'{names[k]} in {a} of {n} train and {b} of {m} {split} images')
      )
  if not parts:
    return []
  parts.sort()
  return [
    Finding(
      'warning',
      'distribution shift',
      text=f"{some([text for _, text in parts], most=6)} (Fisher's exact test, "
      f'for the first: p = {parts[0][0]:.0e}): train has another mix of '
      'images',
      remedy=f'distribute train and {" and ".join(others)} again, so that '
      'each has its share of every class',
      number=len(parts),
    )
  ]


def fisher_exact(a: int, n: int, b: int, m: int) -> float:
  """Returns p of Fisher's exact test, two-sided, of a of n against b of m.

  p is the probability, given a + b hits in all, of a table that is as likely as
  this one or less likely.
  """
  hits = a + b
  ways = [
    _log_choose(n, x) + _log_choose(m, hits - x)
    for x in range(max(0, hits - m), min(n, hits) + 1)
  ]
  this = _log_choose(n, a) + _log_choose(m, b)
  total = _log_choose(n + m, hits)
  # SciPy's tolerance for rounding.
  return min(1.0, sum(math.exp(x - total) for x in ways if x <= this + 1e-7))


def _log_choose(n: int, k: int) -> float:
  return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
