"""Reads and writes small text files: writes are atomic, reads name faults."""

import json
import pathlib
from typing import Any

from unet_jax import errors


def write_text(path: pathlib.Path, text: str) -> None:
  """Replaces a file atomically: a killed process leaves the old or the new."""
  aside = path.with_name(f'{path.name}.tmp')
  try:
    aside.write_text(text)
    aside.replace(path)
  except OSError:
    aside.unlink(missing_ok=True)
    raise


def read_json(path: pathlib.Path, remedy: str) -> dict[str, Any]:
  """Reads a file that holds a JSON object.

  Raises:
    InputError: if the file is missing or damaged; its text ends with `remedy`.
  """
  try:
    tree = json.loads(path.read_text())
    if not isinstance(tree, dict):
      raise ValueError('it holds no JSON object')
  except (OSError, ValueError, RecursionError) as error:
    raise errors.InputError(
      f'{path} cannot be read ({error}); {remedy}'
    ) from None
  return tree
