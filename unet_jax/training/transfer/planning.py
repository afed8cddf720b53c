"""Plans which weights a warm start takes from another model, and how.

The plan is made leaf by leaf, from shapes alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from unet_jax import errors
from unet_jax.training import parts
from unet_jax.training.transfer import heads

HEAD = 'head'


class Leaf(NamedTuple):
  """The plan for one array of the new model, or of the old model alone."""

  action: str
  why: str = ''
  # (old array, new array) -> the array that replaces the new one.
  take: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def make_plan(
  new: Mapping[str, Any],
  old: Mapping[str, Any],
  head: heads.HeadMap | None,
  *,
  channels: tuple[int, int],
) -> dict[str, Leaf]:
  """Plans a warm start leaf by leaf, from shapes.

  Args:
    new: variables of the new model, or their shapes.
    old: variables of the other run.
    head: map of the planes, from `heads.map_head`.
    channels: number of channels of the new images, and of the other run's.

  Returns:
    {path: Leaf} with paths such as 'params/down0/conv0/kernel'; arrays that
    only the other run has come last.

  Raises:
    InputError: if no kernel fits.
  """
  new, old = (_flatten(tree) for tree in (new, old))
  plan = {}
  for path, leaf in new.items():
    if path not in old:
      plan[path] = Leaf('re-initialised', 'not in the other run')
    elif path.split('/')[1].startswith(HEAD):
      plan[path] = _plan_head(leaf.shape, old[path].shape, head)
    else:
      shapes = leaf.shape, old[path].shape
      plan[path] = _plan_channels(path, *shapes, channels) or _plan_leaf(
        *shapes
      )
  for path, leaf in plan.items():
    kernel = plan.get(path.replace('/bias', '/kernel'), leaf)
    if leaf.take and not kernel.take:
      plan[path] = Leaf('re-initialised', 'as its kernel is')
  if not any(x.take for path, x in plan.items() if path.endswith('/kernel')):
    path, leaf = next(iter(plan.items()))
    raise errors.InputError(
      f'--init_from: no kernel of the other run fits; {path}: {leaf.why}'
    )
  skipped = sorted(old.keys() - new.keys())
  return plan | dict.fromkeys(skipped, Leaf('skipped', 'not in this model'))


def _plan_channels(path, new, old, channels) -> Leaf | None:
  """Plans an input kernel if the numbers of channels differ; otherwise None."""
  here, there = channels
  sees_image = (
    here != there
    and path.startswith('params/down0/')
    and (len(new), new[2:3], old[2:3]) == (4, (here,), (there,))
    and (*new[:2], new[3]) == (*old[:2], old[3])
  )
  why = f'{here} channels here, {there} there'
  # An image with equal channels then gives the output of the one channel.
  if sees_image and there == 1:
    return Leaf(
      'inflated', why, lambda old, _: np.repeat(old / here, here, axis=2)
    )
  if sees_image and here == 1:
    return Leaf('summed', why, lambda old, _: old.sum(axis=2, keepdims=True))
  return None


def _plan_leaf(new, old) -> Leaf:
  """Plans to copy a leaf, or to re-initialise it if the shapes differ."""
  if new == old:
    return Leaf('copied', '', lambda old, _: old)
  return Leaf('re-initialised', f'shape {new} here, {old} there')


def _plan_head(new, old, head: heads.HeadMap | None) -> Leaf:
  """Plans to map the old planes to the new planes."""
  if head is None:
    why = 'no class in common; config.transfer.classes can map some'
    return Leaf('re-initialised', why)
  if (old[-1], new[-1]) != head.matrix.shape:
    return Leaf('re-initialised', f'planes: {new[-1]} here, {old[-1]} there')
  leaf = _plan_leaf(new, (*old[:-1], new[-1]))
  if not leaf.take or (
    new == old
    and np.array_equal(head.matrix, np.eye(new[-1]))
    and not head.is_fresh.any()
  ):
    return leaf

  def take(old, new):
    planes = old @ head.matrix + (head.shift if old.ndim == 1 else 0)
    return np.where(head.is_fresh, new, planes)

  return Leaf('mapped', head.text, take)


def check_frozen(plan: Mapping[str, Leaf], freeze: tuple[str, ...]) -> None:
  """Raises InputError if a part to freeze is re-initialised."""
  for path, leaf in plan.items():
    collection, _, rest = path.partition('/')
    is_random = collection == 'params' and leaf.action == 're-initialised'
    if is_random and parts.is_in(rest, freeze):
      raise errors.InputError(
        f'config.transfer.freeze would freeze the random initial weights of '
        f'{rest}, which is re-initialised ({leaf.why}); remove that part'
      )


def apply(
  plan: Mapping[str, Leaf], new: Mapping[str, Any], old: Mapping[str, Any]
) -> dict:
  """Returns the new model's variables, with the planned ones from `old`."""
  new, old = (_flatten(tree) for tree in (new, old))

  def value(path: str) -> jax.Array:
    take = plan[path].take
    if not take:
      return new[path]
    arrays = (np.asarray(jax.device_get(tree[path])) for tree in (old, new))
    return jnp.asarray(take(*arrays), jnp.float32)

  merged = {path: value(path) for path in new}
  # A model without batch norm has the collection too, but empty.
  return {'batch_stats': {}, **traverse_util.unflatten_dict(merged, sep='/')}


def describe(plan: Mapping[str, Leaf]) -> str:
  """Returns a line of text for each leaf."""
  return '\n'.join(
    f'{path}: {leaf.action}' + (f' ({leaf.why})' if leaf.why else '')
    for path, leaf in plan.items()
  )


def summarise(plan: Mapping[str, Leaf]) -> str:
  """Returns a line of text for each group of parts with equal actions."""
  by_part: dict[str, dict[str, list[str]]] = {name: {} for name in parts.GROUPS}
  for path, leaf in plan.items():
    part = parts.group(path.split('/')[1])
    by_part.setdefault(part, {}).setdefault(leaf.action, []).append(leaf.why)
  # Actions -> the parts with these actions, and the reasons for each action.
  lines: dict[tuple[str, ...], tuple[list[str], dict[str, list[str]]]] = {}
  for part, actions in by_part.items():
    if not actions:
      continue
    names, whys = lines.setdefault(tuple(actions), ([], {}))
    names.append(part)
    for action, reasons in actions.items():
      whys.setdefault(action, []).extend(reasons)
  return '\n'.join(
    f'  {", ".join(names)}: '
    + ', '.join(_count(action, x) for action, x in whys.items())
    for names, whys in lines.values()
  )


def _count(action: str, whys: list[str]) -> str:
  others = len(set(whys)) - 1
  more = f'; {others} more such reasons' if others else ''
  why = f' ({whys[0]}{more})' if whys[0] else ''
  return f'{len(whys)} {"leaf" if len(whys) == 1 else "leaves"} {action}{why}'


def _flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(tree, sep='/')
