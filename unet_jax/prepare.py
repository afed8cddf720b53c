"""Decodes a data set once, so that training need not:

python -m unet_jax.prepare --config configs/binary.py:stare --output DIR
"""

import pathlib
import shlex
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from unet_jax import command_line
from unet_jax import config as config_lib


def main(argv: Sequence[str]) -> int:
  """Decodes as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'output', '', 'Folder for the decoded data set.', flag_values=args
  )


def run(args: flags.FlagValues) -> None:
  """Writes the data set, and prints the command that trains from it."""
  from unet_jax.data import (  # Late, for a fast --help.
    prepared,
    reading,
    sources,
    spec,
  )

  config_lib.check(args.config)
  output = pathlib.Path(args.output).expanduser().absolute()
  data_spec = spec.read(args.config)
  opened = sources.open_layout(data_spec)
  read = reading.make_reader(data_spec, opened)
  prepared.write(data_spec, opened, read, output, print)
  text = train_command(args['config'], output)
  print(f'{output} is finished; train from it with\n  {text}')


def train_command(config_flag: flags.Flag, output: pathlib.Path) -> str:
  """Returns the command that trains from the output with the given config."""
  settings = config_flags.get_override_values(config_flag) | {
    'data.source': 'tfds',
    'data.name': 'prepared',
    'data.root': output,
  }
  words = ['python', '-m', 'unet_jax.main']
  words += ['--config', config_flags.get_config_filename(config_flag)]
  words += [
    f'--config.{key}={value.to_dict() if hasattr(value, "to_dict") else value}'
    for key, value in settings.items()
  ]
  return shlex.join(words)


COMMAND = command_line.Command(
  define, run, configs=command_line.CONFIG, required=('output',)
)

if __name__ == '__main__':
  command_line.run(COMMAND)
