"""Decodes a data set once, to train from it without decoding:

python -m unet_jax.prepare --config configs/binary.py:stare --output DIR
"""

import pathlib
import shlex

from absl import flags
from ml_collections import config_flags

from unet_jax import command_line, errors
from unet_jax import config as config_lib

CONFIG = command_line.define_flag()
OUTPUT = flags.DEFINE_string('output', '', 'Folder for the decoded data set.')


def main() -> None:
  """Writes the data set, and prints the command that trains from it."""
  if CONFIG.value is None or not OUTPUT.value:
    raise errors.InputError(
      'give a config and a folder: --config configs/binary.py --output DIR'
    )
  from unet_jax.data import (
    prepared,  # --help needs none.
    sources,
    spec,
  )

  config_lib.check(CONFIG.value)
  output = pathlib.Path(OUTPUT.value).expanduser().absolute()
  wanted = spec.read(CONFIG.value)
  opened = sources.open_layout(wanted)
  read = sources.example_reader(wanted, opened)
  prepared.write(wanted, opened, read, output, print)
  print(f'{output} is finished; train from it with\n  {command(output)}')


def command(output: pathlib.Path) -> str:
  """Returns what trains from the output with the config that was given."""
  flag = flags.FLAGS['config']
  settings = config_flags.get_override_values(flag) | {
    'data.source': 'tfds',
    'data.name': 'prepared',
    'data.root': output,
  }
  words = ['python', '-m', 'unet_jax.main', '--config', flag.config_filename]
  words += [f'--config.{key}={value}' for key, value in settings.items()]
  return shlex.join(words)


if __name__ == '__main__':
  command_line.run(main)
