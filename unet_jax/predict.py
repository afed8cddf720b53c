"""Segments images: python -m unet_jax.predict --workdir RUN --input FILES
--output DIR"""

import pathlib

from absl import flags

from unet_jax import command_line, errors

WORKDIR = flags.DEFINE_string('workdir', '', 'Folder of the run.')
INPUT = flags.DEFINE_multi_string(
  'input', [], 'Image, or a folder; may repeat.'
)
OUTPUT = flags.DEFINE_string('output', '', 'Folder for masks and overlays.')
CHECKPOINT = flags.DEFINE_string(
  'checkpoint', 'best', 'best, latest or a step.'
)


def main() -> None:
  """Writes a mask and an overlay for each image."""
  for name in ('workdir', 'input', 'output'):
    if not flags.FLAGS[name].value:
      raise errors.InputError(f'--{name} is missing; see --help')
  from unet_jax import build  # Below, since --help needs none of it.
  from unet_jax.evaluation import predictions, trained

  build.start()
  paths = predictions.find_images(INPUT.value)
  output = pathlib.Path(OUTPUT.value)
  model = trained.load(pathlib.Path(WORKDIR.value), CHECKPOINT.value)
  predictions.write(model, paths, output)
  print(f'{len(paths)} masks and overlays are in {output}')


if __name__ == '__main__':
  command_line.run(main)
