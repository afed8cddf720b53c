"""Segments images: python -m unet_jax.predict --workdir RUN --input FILES
--output DIR"""

import pathlib
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line


def main(argv: Sequence[str]) -> int:
  """Segments images as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('workdir', '', 'Folder of the run.', flag_values=args)
  flags.DEFINE_multi_string(
    'input',
    [],
    'Image, or folder of images; may be repeated.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'output', '', 'Folder for masks and overlays.', flag_values=args
  )
  flags.DEFINE_string(
    'checkpoint', 'best', 'best, latest or a step.', flag_values=args
  )
  command_line.define_processes(args)


def run(args: flags.FlagValues) -> None:
  """Writes a mask and an overlay for each image."""
  from unet_jax.data import folder  # Late, for a fast --help.
  from unet_jax.evaluation import predictions, trained

  for text in args.input:
    for line in folder.left_out(pathlib.Path(text)):
      print(line)
  paths = predictions.find_images(args.input)
  output = pathlib.Path(args.output)
  model = trained.load(pathlib.Path(args.workdir), args.checkpoint)
  predictions.write(model, paths, output)
  print(f'{len(paths)} masks and overlays are in {output}')


COMMAND = command_line.Command(
  *(define, run, command_line.start_jax),
  required=('workdir', 'input', 'output'),
)

if __name__ == '__main__':
  command_line.run(COMMAND)
