"""Checks the data before training: python -m unet_jax.doctor --config ..."""

import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from unet_jax import command_line
from unet_jax import config as config_lib


def main(argv: Sequence[str]) -> int:
  """Checks the data as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'json', '', 'File for the findings, as JSON.', flag_values=args
  )
  flags.DEFINE_string(
    'html',
    '',
    'File for the report, with a contact sheet that is also a PNG beside it.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'write_config',
    '',
    'File for a config with the proposed settings.',
    flag_values=args,
  )
  flags.DEFINE_string(
    'show_augmented',
    '',
    'Folder for a picture of crops as training sees them.',
    flag_values=args,
  )
  args['list'] = command_line.PrintFlag(
    'list', 'List every possible finding, and exit.', _list
  )
  flags.DEFINE_bool(
    'largest_batch',
    False,
    'Whether to find the largest batch that fits, by compiling.',
    flag_values=args,
  )
  flags.DEFINE_bool(
    'overfit',
    False,
    'Whether to test that the run can overfit two crops.',
    flag_values=args,
  )


def _list() -> str:
  from unet_jax.doctor import checks  # Late, for a fast --help.

  return checks.table()


def run(args: flags.FlagValues) -> int:
  """Reads the data as training would, and reports what is wrong with it.

  Returns:
    The exit code: 1 if there are errors.
  """
  from unet_jax import parallel  # Late, for a fast --help.
  from unet_jax.data import files
  from unet_jax.doctor import (
    contact_sheet,
    diagnosis,
    page,
    proposal,
    report,
    sheets,
    survey,
  )
  from unet_jax.doctor.checks import memory

  config = args.config
  title = config_flags.get_config_filename(args['config'])
  config_lib.check(config)
  surveyed = survey.take(config)
  findings = diagnosis.diagnose(
    surveyed,
    parallel.num_devices(),
    trials=('step', 'overfit') if args.overfit else ('step',),
  )
  memory_errors = [x for x in findings if x.title == 'device memory']
  if args.largest_batch and (
    memory_errors or not diagnosis.has_errors(findings)
  ):
    print(memory.say_largest_batch(surveyed))
  facts = report.figures(diagnosis.tally(surveyed), surveyed.classes)
  report.print_report(findings, report.tables(facts))
  if args.json:
    report.write(report.to_json(findings, facts), pathlib.Path(args.json))
  has_errors = diagnosis.has_errors(findings)
  crops = []
  if (args.html or args.show_augmented) and not has_errors:
    crops = [('', sheets.augmented(config))]
  if args.show_augmented and crops:
    path = pathlib.Path(args.show_augmented) / 'augmented.png'
    files.write_png(crops[0][1], path)
    print(f'written to {path}')
  elif args.show_augmented:
    print('--show_augmented: nothing is drawn until the errors are fixed')
  if args.html:
    path = pathlib.Path(args.html)
    shown = [sheets.annotated(surveyed), *sheets.refused(surveyed)]
    if crops:
      shown.append(page.Sheet('Crops before and after augmentation', crops))
    where = config.data.source
    if config.data.root:
      where = str(pathlib.Path(config.data.root).expanduser().absolute())
    tables = report.tables(facts)
    report.write(page.whole(where, findings, tables, shown), path)
    picture = contact_sheet.sheet(shown[0].figures, surveyed.classes)
    files.write_png(picture, path.with_suffix('.png'))
  if args.write_config:
    path, proposed = args.write_config, proposal.collect(findings)
    text = proposal.to_source(config, proposed, title=title, path=path)
    report.write(text, pathlib.Path(path))
  return 1 if has_errors else 0


COMMAND = command_line.Command(
  define, run, command_line.start_jax, configs=command_line.CONFIG
)

if __name__ == '__main__':
  command_line.run(COMMAND)
