"""Small text files, replaced in one move."""

import pathlib


def write_text(path: pathlib.Path, text: str) -> None:
  """Replaces a file in one move: killed, it leaves the old or the new."""
  aside = path.with_name(f'{path.name}.tmp')
  aside.write_text(text)
  aside.replace(path)
