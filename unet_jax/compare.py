"""Trains with and without a warm start, and compares: python -m
unet_jax.compare --source FILE --config FILE --workdir DIR"""

import pathlib

from absl import flags

from unet_jax import command_line, errors

CONFIG = command_line.define_flag()
SOURCE = command_line.define_flag(
  'source', 'Config file[:VARIANT] to start from'
)
WORKDIR = flags.DEFINE_string('workdir', '', 'Folder for all runs.')
SEEDS = flags.DEFINE_integer('seeds', 3, 'Pairs of runs.', lower_bound=1)


def main() -> None:
  """Trains what has not been trained, and prints the comparison."""
  for name in ('source', 'config', 'workdir'):
    if not flags.FLAGS[name].value:
      raise errors.InputError(f'--{name} is missing; see --help')
  from unet_jax import build  # Below, since --help needs none of it.
  from unet_jax.experiments import comparison

  build.start(CONFIG.value.engine)
  workdir = pathlib.Path(WORKDIR.value)
  print(comparison.compare(SOURCE.value, CONFIG.value, workdir, SEEDS.value))


if __name__ == '__main__':
  command_line.run(main)
