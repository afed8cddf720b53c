"""Reads the data settings of a config; no other module here reads configs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections

EMBEDDED = 'synthetic_fundus'  # The source that comes with the package.


class Masks(NamedTuple):
  """How masks are stored, and what their values mean."""

  kind: str  # binary | index | color | folders | planes
  background: str  # Name of the background; '' if there is none.
  merge: Mapping[str, tuple]  # Class -> the folders or values it is made of.
  void: tuple  # Folders or values whose pixels are void.
  threshold: int  # Least grey value of a foreground pixel.
  soft: int  # Grey value that means probability 1; 0: labels are hard.
  missing: str  # error | absent: what a missing mask file means.


class Split(NamedTuple):
  """How images are split into train, val and test."""

  train: str  # Names and ranges of names; '' reads the lists.
  val: str
  test: str
  val_share: float  # Share of train that is drawn as val; see defaults.
  group: str  # Images of a patient stay together; see split_drawing.group.
  folds: int  # Number of folds; 0: none.
  fold: int  # Index of the fold that is val.


class Spec(NamedTuple):
  """A data set, and how it is read."""

  task: str  # binary | multiclass | multilabel
  seed: int  # Of the draw of val or of folds.
  source: str  # synthetic_fundus | folder | tfds
  name: str  # Of the TFDS data set.
  root: str  # Parent of images/, or of all TFDS data sets.
  classes: tuple[str, ...]  # Foreground; () if the data set names them.
  masks: Masks
  split: Split
  fov: str  # Folder of masks of the field of view | estimate | ''
  weights: str  # Folder of maps of weights, or ''.
  resize: int  # Longer side of images in pixels; 0: as stored.
  channels: str  # all | green
  bits: str  # stored | 8, of images of 16 bits
  pages: str  # refuse | channels
  normalise: str  # dataset | image | percentile

  @property
  def encoding(self) -> str:
    """Returns the kind of the masks; the embedded set has folders."""
    return 'folders' if self.source == EMBEDDED else self.masks.kind

  def shaping(self) -> dict[str, Any]:
    """Returns {config key: value} of what decides images and labels."""
    masks, split = self.masks, self.split
    return {
      'task': self.task,
      'data.masks.kind': masks.kind,
      'data.background': masks.background,
      'data.masks.merge': masks.merge,
      'data.masks.void': masks.void,
      'data.masks.threshold': masks.threshold,
      'data.masks.soft': masks.soft,
      'data.masks.missing': masks.missing,
      'data.fov': self.fov,
      'data.weights': self.weights,
      'data.resize': self.resize,
      'data.channels': self.channels,
      'data.bits': self.bits,
      'data.pages': self.pages,
      'data.normalise': self.normalise,
      'data.split.train': split.train,
      'data.split.val': split.val,
      'data.split.test': split.test,
    }


def read(config: ml_collections.ConfigDict) -> Spec:
  """Reads the data settings of a run's config."""
  return Spec(
    task=config.task,
    seed=config.seed,
    source=config.data.source,
    name=config.data.name,
    root=config.data.root,
    classes=tuple(config.data.classes),
    masks=Masks(
      kind=config.data.masks.kind,
      background=config.data.background,
      merge=config.data.masks.merge.to_dict(),
      void=tuple(config.data.masks.void),
      threshold=config.data.masks.threshold,
      soft=config.data.masks.soft,
      missing=config.data.masks.missing,
    ),
    split=Split(
      train=config.data.split.train,
      val=config.data.split.val,
      test=config.data.split.test,
      val_share=config.data.split.val_share,
      group=config.data.split.group,
      folds=config.data.split.folds,
      fold=config.data.split.fold,
    ),
    fov=config.data.fov,
    weights=config.data.weights,
    resize=config.data.resize,
    channels=config.data.channels,
    bits=config.data.bits,
    pages=config.data.pages,
    normalise=config.data.normalise,
  )
