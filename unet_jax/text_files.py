"""Small text files: replaced in one move, read with the fault named."""

import json
import pathlib
from typing import Any

from unet_jax import errors


def write_text(path: pathlib.Path, text: str) -> None:
  """Replaces a file in one move: killed, it leaves the old or the new."""
  aside = path.with_name(f'{path.name}.tmp')
  aside.write_text(text)
  aside.replace(path)


def read_json(path: pathlib.Path, remedy: str) -> Any:
  """Reads a file of JSON.

  Raises:
    InputError: if there is none, or it is damaged; the remedy ends its text.
  """
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise errors.InputError(
      f'{path} can not be read ({error}); {remedy}'
    ) from None
