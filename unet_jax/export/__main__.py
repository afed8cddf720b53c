"""Writes a model for other programs: python -m unet_jax.export --workdir RUN
--format onnx

RUN/export/model.onnx takes images [batch, height, width, channels] and gives
probabilities [batch, height, width, classes], both float32; so does
model.stablehlo, for JAX. model.safetensors has the weights. docs/export.md
shows how to use them."""

import pathlib
import shlex
from collections.abc import Sequence

from absl import flags

from unet_jax import command_line


def main(argv: Sequence[str]) -> int:
  """Writes the files as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('workdir', '', 'Folder of the run.', flag_values=args)
  flags.DEFINE_enum(
    'format',
    None,
    ('stablehlo', 'onnx', 'safetensors'),
    'stablehlo for JAX, onnx for other programs, or the weights alone.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'checkpoint', 'best', 'best, latest or a step.', flag_values=args
  )
  flags.DEFINE_bool(
    'thresholds',
    False,
    'Name the thresholds that evaluate --thresholds has chosen, and not 1/2.',
    flag_values=args,
  )


def run(args: flags.FlagValues) -> None:
  """Writes the model of a run, and prints the paths."""
  from unet_jax.evaluation import thresholds, trained  # For a fast --help.
  from unet_jax.export import formats

  workdir = pathlib.Path(args.workdir)
  model = trained.load(workdir, args.checkpoint)
  if args.thresholds:
    words = ['python', '-m', 'unet_jax.evaluate', '--workdir', args.workdir]
    words += [f'--checkpoint={args.checkpoint}', '--thresholds']
    saved = thresholds.find(
      thresholds.path(workdir),
      model.weights(),
      model.predictor.classes,
      shlex.join(words),
    )
    model = trained.with_thresholds(model, saved)
    print(thresholds.describe(saved))
  for path in formats.write(model, workdir, args.format):
    print(f'written to {path}')


COMMAND = command_line.Command(
  *(define, run, command_line.start_jax), required=('workdir', 'format')
)

if __name__ == '__main__':
  command_line.run(COMMAND)
