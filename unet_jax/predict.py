"""Segments images: python -m unet_jax.predict --workdir RUN --input FILES
--output DIR

NAME.png holds class indices with a palette, or 0 and 255 for a single class,
and with overlapping classes each has a NAME_CLASS.png of 0 and 255. (`mask > 0`
also reads the 0 and 1 of earlier versions; `mask == 1` does not.) A binary run
that was trained on index masks writes 0 and 1. predictions.csv has the area,
the components and the mean probability of each class. Images that it shows to
be up to date stay as they are. Several processes (--num_processes) share the
images out among themselves."""

import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line, model_flags


def main(argv: Sequence[str]) -> int:
  """Segments images as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  model_flags.define(args)
  flags.DEFINE_multi_string(
    'input',
    [],
    'Image, or folder of images; may be repeated.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'output', '', 'Folder for masks and overlays.', flag_values=args
  )
  flags.DEFINE_enum(
    'probabilities',
    '',
    ('', 'png', 'npy'),
    'Also write probabilities: a 16-bit NAME_CLASS_probability.png for each '
    'class, where 65535 is 1, or NAME_probabilities.npy, float32 [height, '
    'width, classes].',
    flag_values=args,
  )
  flags.DEFINE_bool(
    'polygons',
    False,
    'Also write outlines, in pixels: NAME_outlines.geojson.',
    flag_values=args,
  )
  flags.DEFINE_integer(
    'max_pixels',
    2**27,
    'Largest image that is decoded as a whole. A larger TIFF is read in parts, '
    'and its masks are tiled TIFFs; larger images of other formats are not '
    'predicted.',
    lower_bound=1,
    flag_values=args,
  )
  command_line.define_processes(args)


def start(args: flags.FlagValues) -> None:
  """Prepares the process for JAX; it predicts with its own devices."""
  command_line.start_jax(args, shares_devices=False)


def run(args: flags.FlagValues) -> int:
  """Writes the files of each image; returns 1 if an image failed."""
  from unet_jax import parallel  # Late, for a fast --help.
  from unet_jax.data import folder
  from unet_jax.evaluation import (
    ensemble,
    predictions,
    segment,
    thresholds,
    trained,
  )

  for text in args.input:
    for line in folder.left_out(pathlib.Path(text)):
      parallel.say(line)
  paths = predictions.find_images(args.input)
  output = pathlib.Path(args.output)
  workdirs = [pathlib.Path(text) for text in args.workdir]
  model = ensemble.open_runs(workdirs, args.checkpoint, args.augment)
  model = trained.with_smallest(model, args.smallest_component)
  if args.thresholds:
    command = model_flags.evaluate_command(args)
    saved = thresholds.find(
      thresholds.path(workdirs[0], model.averages()),
      model.weights(),
      model.predictor.classes,
      command,
    )
    model = trained.with_thresholds(model, saved)
    parallel.say(thresholds.describe(saved))
  options = segment.Options(args.probabilities, args.polygons, args.max_pixels)
  outcome = predictions.write(model, paths, output, options)
  kept = f', {outcome.num_kept} were up to date' if outcome.num_kept else ''
  parallel.say(
    f'{outcome.num_written} masks and overlays are in {output}{kept}'
  )
  for failure in outcome.failures if parallel.is_first() else ():
    print(f'error: {failure}', file=sys.stderr)
  return 1 if outcome.failures else 0


COMMAND = command_line.Command(
  *(define, run, start),
  required=('workdir', 'input', 'output'),
)

if __name__ == '__main__':
  command_line.run(COMMAND)
