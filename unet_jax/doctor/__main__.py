"""Looks at the data before training: python -m unet_jax.doctor --config ..."""

import pathlib
import sys

from absl import flags

from unet_jax import command_line, errors
from unet_jax import config as config_lib

CONFIG = command_line.define_flag()
JSON = flags.DEFINE_string('json', '', 'File for the findings, as JSON.')
HTML = flags.DEFINE_string(
  'html', '', 'File for the report with a contact sheet, which is a PNG, too.'
)
WRITE_CONFIG = flags.DEFINE_string(
  'write_config', '', 'File for a config that sets what is proposed.'
)
SHOW_AUGMENTED = flags.DEFINE_string(
  'show_augmented', '', 'Folder for a picture of crops as training sees them.'
)
LIST = flags.DEFINE_bool(
  'list', False, 'Whether to list every finding there can be, and do no more.'
)
OVERFIT = flags.DEFINE_bool(
  'overfit', False, 'Whether to try if two crops can be learnt by heart.'
)


def main() -> None:
  """Reads the data as training would, and says what is wrong with it."""
  if LIST.value:
    from unet_jax.doctor import checks

    print(checks.table(), end='')
    return
  if CONFIG.value is None:
    raise errors.InputError(
      'no config; give one, e.g. --config configs/multiclass.py'
    )
  from unet_jax import (
    build,  # Below, since --help needs none of it.
    parallel,
  )
  from unet_jax.data import files, sources, spec
  from unet_jax.doctor import (
    augmented_sheet,
    contact_sheet,
    diagnosis,
    proposal,
    report,
    survey,
  )

  build.start(CONFIG.value.engine)
  config, title = CONFIG.value, flags.FLAGS['config'].config_filename
  config_lib.check(config)
  taken = survey.take(config)
  found = diagnosis.diagnose(
    taken,
    parallel.num_devices(),
    trials=('step', 'overfit') if OVERFIT.value else ('step',),
  )
  facts = report.figures(diagnosis.tally(taken), taken.classes)
  report.print_report(found, report.tables(facts))
  if JSON.value:
    report.write(report.to_json(found, facts), pathlib.Path(JSON.value))
  has_errors = diagnosis.has_errors(found)
  sheets = {}
  if HTML.value:
    sheets['What is marked, the rarest class first'] = contact_sheet.make(taken)
  if (HTML.value or SHOW_AUGMENTED.value) and not has_errors:
    wanted = spec.read(config)
    dataset = sources.load(wanted, sources.open_layout(wanted))
    sheet = augmented_sheet.make_sheet(config, dataset)
    sheets['Crops as they are cut, and as training will see them'] = sheet
    if SHOW_AUGMENTED.value:
      path = pathlib.Path(SHOW_AUGMENTED.value) / 'augmented.png'
      files.write_png(sheet, path)
      print(f'written to {path}')
  elif SHOW_AUGMENTED.value:
    print('--show_augmented: nothing is drawn before the errors are mended')
  if HTML.value:
    report.write_html(pathlib.Path(HTML.value), title, found, facts, sheets)
  if WRITE_CONFIG.value:
    path, proposed = WRITE_CONFIG.value, proposal.collect(found)
    text = proposal.to_source(config, proposed, title=title, path=path)
    report.write(text, pathlib.Path(path))
  sys.exit(1 if has_errors else 0)


if __name__ == '__main__':
  command_line.run(main)
