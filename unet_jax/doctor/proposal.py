"""Writes proposed settings, with their reasons, as a config file."""

from collections.abc import Sequence
from typing import Any

import ml_collections

from unet_jax import config as config_lib
from unet_jax import defaults
from unet_jax.data.checks.finding import Finding

_HEAD = '''"""{title}, with proposed settings: read them, then train.

  python -m unet_jax.main --config {path}
"""

from unet_jax import defaults


def get_config(arg=''):
  """Returns the configuration of one run."""
  del arg
  config = defaults.get_config()
'''


def collect(findings: Sequence[Finding]) -> dict[str, tuple[Any, str]]:
  """Returns {key: (value, reason)} of errors and warnings.

  If several findings set a key, the first of them decides.
  """
  proposed: dict[str, tuple[Any, str]] = {}
  for finding in findings:
    if finding.severity != 'note':
      for key, value in finding.settings.items():
        why = f'{finding.title}: {finding.text}'
        proposed.setdefault(key, (value, ' '.join(why.split())))
  return proposed


def to_source(
  config: ml_collections.ConfigDict,
  proposed: dict[str, tuple[Any, str]],
  *,
  title: str,
  path: str,
) -> str:
  """Returns the text of a config file: the settings of `config`, and proposals.

  Args:
    config: of the run, with the overrides of the command line.
    proposed: {key: (value, reason)}, as `collect` returns it.
    title: title of the config.
    path: file to which the text will be written.
  """
  default = config_lib.flatten(defaults.get_config())
  given = config_lib.flatten(config)
  lines = [_HEAD.format(title=title, path=path)]
  for key, value in given.items():
    if value != default[key] and key not in proposed:
      lines.append(f'  config.{key} = {value!r}\n')
  for key, (value, why) in proposed.items():
    lines.append(f'  # {why}\n  config.{key} = {value!r}\n')
  return ''.join([*lines, '  return config\n'])
