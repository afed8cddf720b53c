"""Finds and loads config files: presets, files of one's own, and config.json.

A preset is a file of configs/, which is installed as unet_jax/configs/.
"""

import ast
import difflib
import pathlib
import re
import runpy
import traceback
from collections.abc import Sequence

import ml_collections

from unet_jax import config as config_lib
from unet_jax import errors

_HERE = pathlib.Path(__file__).parent
INSTALLED, CLONED = _HERE / 'configs', _HERE.parent / 'configs'


def load(text: str) -> ml_collections.ConfigDict:
  """Loads the config that `--config` names; its keys are locked.

  Args:
    text: NAME[:VARIANT] of a preset, FILE.py[:VARIANT], or the config.json of a
      run. configs/NAME.py is the preset also where there is no such file.

  Raises:
    InputError: there is no such file or variant, or it holds no config.
    Exception: whatever the file raises.
  """
  name, _, variant = text.partition(':')
  path = find(name)
  if path.suffix == '.json':
    if variant:
      raise errors.InputError(
        f'{text}: a config.json has no variants; leave out :{variant}'
      )
    config = config_lib.load(path)
  else:
    get_config = runpy.run_path(str(path)).get('get_config')
    if not callable(get_config):
      raise errors.InputError(f'{path} has no function get_config; add it')
    config = get_config(variant) if variant else get_config()
  if not isinstance(config, ml_collections.ConfigDict):
    kind = type(config).__name__
    raise errors.InputError(
      f'{path}: get_config returned {kind}, not a config; start it from '
      'defaults.get_config()'
    )
  config.lock()
  return config


def find(name: str) -> pathlib.Path:
  """Returns the path of a preset or of a file.

  Raises:
    InputError: there is neither.
  """
  path = pathlib.Path(name).expanduser()
  for preset in presets():
    is_listed = path == pathlib.Path(f'configs/{preset}.py')
    if name == preset or (is_listed and not path.exists()):
      return folder() / f'{preset}.py'
  if path.is_file():
    return path
  if (path / config_lib.FILE).is_file():
    raise errors.InputError(
      f'{name!r} is a folder; for the config of this run give '
      f'{path / config_lib.FILE}'
    )
  near = difflib.get_close_matches(path.stem, presets(), n=1)
  hint = f'; did you mean {near[0]}?' if near else ''
  raise errors.InputError(
    f'{name!r} is no file, and no preset ({", ".join(presets())}){hint}'
  )


def folder() -> pathlib.Path:
  """Returns the folder of the presets, of an installation or of a clone."""
  return INSTALLED if INSTALLED.is_dir() else CLONED


def presets() -> list[str]:
  """Returns the names of the presets."""
  names = sorted(path.stem for path in folder().glob('*.py'))
  return [name for name in names if name != '__init__']


def variants(path: pathlib.Path) -> dict[str, str]:
  """Returns {variant: what it is} as the file's docstring lists them.

  The config without a variant is called `none`.
  """
  doc = ast.get_docstring(ast.parse(path.read_text())) or ''
  listed = re.search(r'Variants[^:]*:\n((?:  .+\n?)+)', doc)
  rows = [x.split(maxsplit=1) for x in listed[1].splitlines()] if listed else []
  return {name: what for name, what in rows}


def describe() -> str:
  """Returns a line for each preset, and one for each of its variants."""
  lines = []
  for name in presets():
    path = folder() / f'{name}.py'
    doc = ast.get_docstring(ast.parse(path.read_text())) or ''
    lines.append(f'  {name}: {doc.splitlines()[0]}')
    for variant, what in variants(path).items():
      call = name if variant == 'none' else f'{name}:{variant}'
      lines.append(f'    {call:<22} {what}')
  return '\n'.join(lines)


def explain(error: BaseException | None, flag: str) -> str:
  """Returns in one line why `load` failed.

  Args:
    error: what it raised.
    flag: the flag that named the config, such as --config.
  """
  if isinstance(error, errors.InputError):
    return f'{flag}: {error}'
  if isinstance(error, SystemExit):
    return f'{flag}: {error.code}'
  lines = traceback.extract_tb(error.__traceback__ if error else None)
  old_key = _old_key([line.line or '' for line in lines])
  if old_key:
    return config_lib.explain_unknown(old_key, flag)
  last = ' '.join((type(error).__name__, *str(error).splitlines()[-1:]))
  places = [
    f' ({line.filename}, line {line.lineno})'
    for line in lines
    if line.name in ('get_config', '<module>')
  ]
  return f'{flag}: {last}{"".join(places[-1:])}'


def _old_key(lines: Sequence[str]) -> str:
  """Returns the key of an earlier version that lines of code use, or ''."""
  for key in (*config_lib.RENAMED, *config_lib.REMOVED):
    if any(re.search(rf'\b{re.escape(key)}\b', line) for line in lines):
      return key
  return ''
