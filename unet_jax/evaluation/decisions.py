"""How logits become masks: thresholds, and which components stay."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from unet_jax.data import labels
from unet_jax.evaluation import counts, tiles

ROWS = 256  # Least rows of a strip whose components are labelled at once.


class Rule(NamedTuple):
  """How logits become masks; by default at p = 1/2, and with all components."""

  # A plane is predicted where its logit is at least this; () is p > 1/2.
  thresholds: tuple[float, ...] = ()
  # Components of a foreground class with fewer pixels are removed. Pixels of a
  # component share sides.
  smallest: int = 0


PLAIN = Rule()


def decide(
  logits: np.ndarray, classes: labels.ClassSpec, rule: Rule
) -> np.ndarray:
  """Turns the logits of an image into masks.

  Args:
    logits: float32[H, W, K].
    classes: classes of the planes. Classes that exclude each other have no
      thresholds, the largest plane wins; what is removed of them becomes
      background, which they need to have.
    rule: the rule.

  Returns:
    bool[H, W, K].
  """
  return np.concatenate(list(decide_strips([logits], classes, rule)))


def decide_strips(
  strips: Iterable[np.ndarray], classes: labels.ClassSpec, rule: Rule
) -> Iterator[np.ndarray]:
  """Turns strips of the logits of an image into masks, as `decide` would.

  Args:
    strips: float32[rows, W, K] each, from top to bottom.
    classes: classes of the planes.
    rule: the rule.

  Yields:
    bool[rows, W, K]; with `rule.smallest` of other rows than the strips, at
    most max(ROWS, smallest) rows behind.
  """
  decided = (_cut(strip, classes, rule.thresholds) for strip in strips)
  if rule.smallest < 2:
    return decided
  return _without_small(decided, classes, rule.smallest)


def _cut(
  logits: np.ndarray, classes: labels.ClassSpec, thresholds: tuple[float, ...]
) -> np.ndarray:
  if thresholds:
    return logits >= np.array(thresholds, np.float32)
  return counts.predicted_planes(logits, exclusive=classes.exclusive)


def _without_small(
  strips: Iterable[np.ndarray], classes: labels.ClassSpec, smallest: int
) -> Iterator[np.ndarray]:
  """Removes the small components of masks bool[rows, W, K] in strips.

  A small component that touches a row ends within `margin` rows above and below
  it; any other that touches the row has enough pixels in the row and those. So
  each row is decided as in the whole image.
  """
  margin = smallest - 1
  waiting, num_done = None, 0  # Rows; how many of them, at the top, are done.
  for strip in tiles.regroup(strips, max(ROWS, smallest)):
    waiting = strip if waiting is None else np.concatenate([waiting, strip])
    end = len(waiting) - margin
    if end > num_done:
      yield _label_and_remove(waiting, classes, smallest)[num_done:end]
      num_done = min(end, margin)
      waiting = waiting[end - num_done :]
  if waiting is not None and len(waiting) > num_done:
    yield _label_and_remove(waiting, classes, smallest)[num_done:]


def _label_and_remove(
  planes: np.ndarray, classes: labels.ClassSpec, smallest: int
) -> np.ndarray:
  """Removes the components that are small in these rows, bool[rows, W, K]."""
  planes, first = planes.copy(), len(classes.planes) - classes.num_foreground
  for k in range(first, len(classes.planes)):
    label, _ = ndimage.label(planes[..., k])
    is_kept = np.bincount(label.reshape(-1)) >= smallest
    is_kept[0] = False
    planes[..., k] = is_kept[label]
  if classes.exclusive:
    planes[..., 0] = ~planes[..., first:].any(axis=-1)
  return planes
