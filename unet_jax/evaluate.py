"""Scores a run: python -m unet_jax.evaluate --workdir runs/multiclass"""

import pathlib

from absl import flags

from unet_jax import command_line, errors

WORKDIR = flags.DEFINE_string('workdir', '', 'Folder of the run.')
SPLIT = flags.DEFINE_string('split', 'test', 'train, val or test.')
CHECKPOINT = flags.DEFINE_string(
  'checkpoint', 'best', 'best, latest or a step.'
)
DATA_ROOT = flags.DEFINE_string(
  'data_root', '', "The data's folder, where it is no longer the training's."
)


def main() -> None:
  """Evaluates as the flags say."""
  if not WORKDIR.value:
    raise errors.InputError('no run; give its folder with --workdir')
  from unet_jax import build  # Below, since --help needs none of it.
  from unet_jax.data import sources, spec, splits
  from unet_jax.evaluation import trained

  build.start()
  workdir = pathlib.Path(WORKDIR.value)
  run = trained.load(workdir, CHECKPOINT.value)
  if DATA_ROOT.value:
    run.config.data.root = DATA_ROOT.value
  saved = splits.load(workdir)
  source = sources.open_split(spec.read(run.config), SPLIT.value, saved)
  _, table = trained.evaluate(run, source, workdir, SPLIT.value)
  print(table)


if __name__ == '__main__':
  command_line.run(main)
