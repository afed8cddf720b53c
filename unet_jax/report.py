"""Shows a run, or compares runs, on one page: python -m unet_jax.report RUN
[RUN ...] [--output FILE]"""

import pathlib
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line


def main(argv: Sequence[str]) -> int:
  """Writes the report as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_multi_string(
    'run', [], 'Folder of a run; RUN alone means the same', flag_values=args
  )
  flags.DEFINE_string(
    'output',
    '',
    'The page; by default RUN/report.html, or comparison.html of several runs.',
    flag_values=args,
  )


def run(args: flags.FlagValues) -> None:
  """Writes one page."""
  from unet_jax.evaluation.report import page  # Late, for a fast --help.

  folders = [pathlib.Path(folder) for folder in args.run]
  own = folders[0] / page.NAME if len(folders) == 1 else 'comparison.html'
  output = pathlib.Path(args.output or own)
  page.write(folders, output)
  print(f'written to {output}')


COMMAND = command_line.Command(define, run, required=('run',), words='run')

if __name__ == '__main__':
  command_line.run(COMMAND)
