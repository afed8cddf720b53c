"""A finding: what a check reports, and the text of it."""

import difflib
import shlex
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unet_jax import errors

SEVERITIES = ('error', 'warning', 'note')
LONG = 160  # Characters that are shown of a setting.
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Finding(NamedTuple):
  """One thing that a user should know about the data before training.

  Attributes:
    severity: `error` if training refuses the data or would mean nothing;
      `warning` if the score will be worse, or better than it should be; `note`
      if the data may be as it should be.
    title: a short name, the same for all findings of a kind.
    text: the fault, with its numbers.
    remedy: what to do, in words or as a command.
    files: the files that have the fault.
    number: how many examples, files or pixels have the fault.
    settings: config key -> value that mends the fault.
  """

  severity: str
  title: str
  text: str
  remedy: str = ''
  files: tuple[str, ...] = ()
  number: int = 0
  settings: Mapping[str, Any] = NOTHING


def mend(finding: Finding) -> str:
  """Returns the remedy as one line: words, then what to type."""
  return ': '.join(part for part in (finding.remedy, command(finding)) if part)


def sentence(finding: Finding) -> str:
  """Returns the text and the remedy as one line."""
  return '; '.join(part for part in (finding.text, mend(finding)) if part)


def notes(findings: Iterable[Finding]) -> list[str]:
  """Returns a line for each error and warning."""
  return [sentence(x) for x in findings if x.severity != 'note']


def refuse(findings: Iterable[Finding]) -> None:
  """Raises InputError for the first error: its file, text and remedy."""
  for finding in findings:
    if finding.severity == 'error':
      where = [f'{x}: ' for x in finding.files[:1] if x not in finding.text]
      raise errors.InputError(''.join((*where, sentence(finding))))


def command(finding: Finding) -> str:
  """Returns the settings as flags, or as lines of a config file if too long."""
  settings = finding.settings.items()
  flags = [flag(key, value) for key, value in settings]
  if all(len(text) < LONG for text in flags):
    return ' '.join(flags)
  lines = [f'config.{key} = {value!r}' for key, value in settings]
  shown = [x if len(x) < LONG else f'{x[:LONG]} ...' for x in lines]
  return f'in the config file (see --write_config), {"; ".join(shown)}'


def flag(key: str, value: Any) -> str:
  """Returns the flag that sets a config key on the command line."""
  text = f'{value}'
  is_plain = not any(letter in text for letter in ' ()|\'"?*$')
  if "'" in text and not any(letter in text for letter in '"$`\\!'):
    return f'--config.{key}="{text}"'  # Easier to read than shlex's.
  return f'--config.{key}={text if is_plain else shlex.quote(text)}'


def some(names: Sequence[object], most: int = 3) -> str:
  """Lists the first few of many names."""
  shown = ', '.join(map(str, names[:most]))
  return f'{shown} and {len(names) - most} more' if len(names) > most else shown


def with_nearest(names: Sequence[str], others: Iterable[str]) -> str:
  """Lists names, each with the most similar of the others."""
  shown = []
  for name in names[:3]:
    near = difflib.get_close_matches(name, list(others), n=1)
    shown.append(f'{name} (nearest: {near[0]})' if near else name)
  return some(shown + list(names[3:]))


def plural(count: int, noun: str) -> str:
  """Returns `1 image` or `2 images`."""
  if count == 1:
    return f'1 {noun}'
  ending = 'ies' if noun.endswith('y') else 's'
  return f'{count} {noun[:-1] if ending == "ies" else noun}{ending}'


def percent(share: float) -> str:
  """Returns a share as `12 %` or `0.03 %`."""
  return f'{100 * share:.2g} %' if share < 0.995 else f'{100 * share:.0f} %'
