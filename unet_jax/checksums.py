"""SHA-256 of the files of a checkpoint, since orbax has none of its arrays."""

import hashlib
import pathlib

from unet_jax import text_files

FILE = 'SHA256SUMS'  # In the folder of a step; `sha256sum -c` reads it.
# Orbax writes these after the last moment at which the sums can be written.
LATER = ('_CHECKPOINT_METADATA', 'commit_success.txt')


def write(folder: pathlib.Path) -> None:
  """Writes the sum of each file in a folder, but for LATER."""
  lines = [f'{_sum(folder / name)}  {name}\n' for name in _names(folder)]
  text_files.write_text(folder / FILE, ''.join(lines))


def fault(folder: pathlib.Path, part: str = '') -> str:
  """Returns what is wrong with the files of a folder; '' if nothing is.

  Args:
    folder: of a step, with a file of sums.
    part: a folder in it; '' checks all files.

  Raises:
    OSError: if a file cannot be read.
  """
  try:
    lines = (folder / FILE).read_text().splitlines()
    saved = {name: digest for digest, name in (x.split('  ', 1) for x in lines)}
  except ValueError:
    return f'{FILE} is damaged'
  for name in saved:
    if not name.startswith(part):
      continue
    if not (folder / name).is_file():
      return f'{name} is missing'
    if _sum(folder / name) != saved[name]:
      return f'{name} is damaged: its SHA-256 is not that of {FILE}'
  for name in _names(folder):
    if name not in saved:
      return f'{name} is not in {FILE}'
  return ''


def _names(folder: pathlib.Path) -> list[str]:
  """Returns the paths of all files but LATER, in sorted order."""
  paths = sorted(x for x in folder.rglob('*') if x.is_file())
  names = (str(path.relative_to(folder)) for path in paths)
  return [name for name in names if name not in (FILE, *LATER)]


def _sum(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
