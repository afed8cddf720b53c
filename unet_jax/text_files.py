"""Reads and writes small files: writes are atomic, reads name faults."""

import codecs
import json
import pathlib
import unicodedata
from typing import Any

from unet_jax import errors


def write_text(path: pathlib.Path, text: str) -> None:
  """Replaces a file by a text in UTF-8; see write_bytes."""
  write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Replaces a file atomically: a killed process leaves the old or the new."""
  aside = path.with_name(f'{path.name}.tmp')
  try:
    aside.write_bytes(content)
    aside.replace(path)
  except OSError:
    aside.unlink(missing_ok=True)
    raise


def normal(name: str) -> str:
  """Returns a name in Unicode's composed form; macOS decomposes accents."""
  return unicodedata.normalize('NFC', name)


def is_control(letter: str) -> bool:
  """Returns whether a letter controls a terminal, or was no UTF-8."""
  return unicodedata.category(letter) in ('Cc', 'Cs')


def read_text(path: pathlib.Path) -> str:
  """Reads a user's text of any encoding that it names, by default UTF-8.

  Windows' programs write UTF-16, and mark it.

  Raises:
    InputError: if the file cannot be read, or is no text.
  """
  try:
    content = path.read_bytes()
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode('utf-16' if is_wide else 'utf-8-sig')
  except OSError as error:
    raise errors.InputError(
      f'{path} cannot be read ({error.strerror or error}); correct it'
    ) from None
  except UnicodeDecodeError:
    text = '\0'
  if any(is_control(letter) and not letter.isspace() for letter in text):
    raise errors.InputError(f'{path} is not text in UTF-8; save it as UTF-8')
  return text


def read_lines(path: pathlib.Path) -> list[str]:
  """Reads the lines of a user's text, without blanks at their ends.

  Raises:
    InputError: see `read_text`.
  """
  lines = (line.strip() for line in read_text(path).splitlines())
  return [line for line in lines if line]


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
