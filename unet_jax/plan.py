"""Plans settings from the data: python -m unet_jax.plan --config ..."""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from unet_jax import command_line, errors
from unet_jax import config as config_lib

UNITS = {'s': 1, 'min': 60, 'h': 3600}  # Seconds.


def main(argv: Sequence[str]) -> int:
  """Plans as the flags say; see command_line.call."""
  return command_line.call(COMMAND, argv)


def define(args: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'budget',
    '',
    "Time for the training steps, such as '10 min'; their speed is measured.",
    flag_values=args,
  )
  flags.DEFINE_string(
    'write_config',
    '',
    'File for a config with the planned settings.',
    flag_values=args,
  )


def run(args: flags.FlagValues) -> None:
  """Looks at the images of train and val, and prints settings with reasons.

  Raises:
    InputError: if training would refuse the data or the config.
  """
  from unet_jax.doctor import proposal, report  # Late, for a fast --help.

  config = args.config
  config_lib.check(config)
  seconds = read_budget(args.budget)
  fixed = config_flags.get_override_values(args['config'])
  planned = make(config, fixed, seconds)
  print(describe(config, planned, fixed))
  config_lib.check(apply(config, planned))
  if args.write_config:
    title = config_flags.get_config_filename(args['config'])
    text = proposal.to_source(
      config, planned, title=title, path=args.write_config
    )
    report.write(text, pathlib.Path(args.write_config))


def read_budget(text: str) -> float:
  """Returns the seconds of a time such as '10 min'; 0 if the text is empty.

  Raises:
    InputError: if the text is no time.
  """
  if not text:
    return 0.0
  match = re.fullmatch(rf'([\d.]+)\s*({"|".join(UNITS)})', text.strip())
  try:
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
  except ValueError:
    seconds = 0.0
  if not seconds:
    raise errors.InputError(
      f"--budget is {text!r}; give a number and s, min or h, such as '10 min'"
    )
  return seconds


def make(
  config: ml_collections.ConfigDict, fixed: Mapping[str, Any], seconds: float
) -> dict[str, tuple[Any, str]]:
  """Returns {key: (value, reason)}; with a budget, measures the speed first.

  Args:
    config: config of the run.
    fixed: settings that stay as they are.
    seconds: for the training steps; 0: no budget.
  """
  import jax  # Late, for a fast --help.

  from unet_jax import parallel
  from unet_jax.doctor import dataset_facts, planning, speed, survey

  surveyed = survey.take(config, with_test=False)
  dataset_facts.check(surveyed)
  facts = dataset_facts.gather(surveyed)
  machine = planning.Machine(
    bytes=parallel.device_bytes(),
    num_parts=parallel.num_devices() * config.optim.accumulate,
    is_cpu=jax.default_backend() == 'cpu',
  )
  planned = planning.plan(facts, machine, fixed)
  if not seconds:
    return planned
  parallel.say('measuring the speed of the training step')
  rate = speed.measure(surveyed, apply(config, planned))
  machine = machine._replace(pixels_per_second=rate)
  return planning.plan(facts, machine, fixed, seconds=seconds)


def apply(
  config: ml_collections.ConfigDict, planned: Mapping[str, tuple[Any, str]]
) -> ml_collections.ConfigDict:
  """Returns a copy of the config that has the planned values."""
  applied = config.copy_and_resolve_references()
  values = {key: value for key, (value, _) in planned.items()}
  applied.update_from_flattened_dict(values)
  return applied


def describe(
  config: ml_collections.ConfigDict,
  planned: Mapping[str, tuple[Any, str]],
  fixed: Mapping[str, Any],
) -> str:
  """Returns a table of keys: the value of the config, the planned one, why."""
  from unet_jax.doctor import planning

  today = config_lib.flatten(config)
  rows = [('key', 'now', 'planned', 'reason')]
  for key in planning.RULES:
    value, why = planned.get(key, (today[key], 'set on the command line'))
    rows.append((key, f'{today[key]}', f'{value}', why))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return '\n'.join(
    f'{key:<{widths[0]}}  {now:>{widths[1]}}  {value:>{widths[2]}}  {why}'
    for key, now, value, why in rows
  )


COMMAND = command_line.Command(
  define, run, command_line.start_jax, configs=command_line.CONFIG
)

if __name__ == '__main__':
  command_line.run(COMMAND)
