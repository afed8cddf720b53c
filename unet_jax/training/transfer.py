"""A warm start: which weights of another run are taken, and which made anew."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

HEAD = 'head'


def warm_start(
  variables: Mapping[str, Any], source: Mapping[str, Any]
) -> tuple[dict, list[str]]:
  """Copies what fits by path and shape; the head is always made anew.

  Args:
    variables: of the new model: params and batch_stats, float32.
    source: likewise, of the other run.

  Returns:
    The new model's variables, and a line a leaf, `<path>: copied` or
    `<path>: re-initialised (why)`.
  """
  new = traverse_util.flatten_dict(variables, sep='/')
  old = traverse_util.flatten_dict(source, sep='/')
  merged, plan = {}, []
  for path, value in new.items():
    why = _obstacle(path, value, old)
    merged[path] = value if why else jnp.asarray(jax.device_get(old[path]))
    plan.append(f'{path}: re-initialised ({why})' if why else f'{path}: copied')
  return traverse_util.unflatten_dict(merged, sep='/'), plan


def _obstacle(path: str, value: jax.Array, old: Mapping[str, Any]) -> str:
  if path.split('/')[1] == HEAD:
    return 'the head is for other classes'
  if path not in old:
    return 'not in the other run'
  if old[path].shape != value.shape:
    return f'shape {old[path].shape} there, {value.shape} here'
  return ''
