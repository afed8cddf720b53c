"""A finding: what a check reports, and how it is put into words."""

import difflib
import shlex
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unet_jax import errors

SEVERITIES = ('error', 'warning', 'note')
LONG = 160  # Letters of a setting.
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Finding(NamedTuple):
  """One thing that a person should know of the data before training.

  Attributes:
    severity: `error`, if training refuses it or can't mean anything;
      `warning`, if it costs score; `note`, if it may be as it should.
    title: a short name, always the same for one kind of finding.
    text: the fault, with its numbers.
    remedy: what to do, in words or as a command.
    files: that have the fault.
    number: of examples, files or pixels that have the fault.
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
  """Returns a line for each finding that a person should read in any case."""
  return [sentence(x) for x in findings if x.severity != 'note']


def refuse(findings: Iterable[Finding]) -> None:
  """Raises InputError for the first error: its file, text and remedy."""
  for finding in findings:
    if finding.severity == 'error':
      where = [f'{x}: ' for x in finding.files[:1] if x not in finding.text]
      raise errors.InputError(''.join((*where, sentence(finding))))


def command(finding: Finding) -> str:
  """Returns the settings as flags, or as lines of a config file."""
  settings = finding.settings.items()
  if not any(isinstance(value, Mapping) for value in finding.settings.values()):
    return ' '.join(flag(key, value) for key, value in settings)
  # A flag can't set what holds names of the user's own.
  lines = [f'config.{key} = {value!r}' for key, value in settings]
  shown = [x if len(x) < LONG else f'{x[:LONG]} ...' for x in lines]
  return f'in the config file (see --write_config), {"; ".join(shown)}'


def flag(key: str, value: Any) -> str:
  """Returns what sets a config key on the command line."""
  text = f'{value}'
  is_plain = not any(letter in text for letter in ' ()|\'"?*$')
  if "'" in text and not any(letter in text for letter in '"$`\\!'):
    return f'--config.{key}="{text}"'  # Easier to read than what shlex does.
  return f'--config.{key}={text if is_plain else shlex.quote(text)}'


def some(names: Sequence[object], most: int = 3) -> str:
  """Lists the first few of many names."""
  shown = ', '.join(map(str, names[:most]))
  return f'{shown} and {len(names) - most} more' if len(names) > most else shown


def with_nearest(names: Sequence[str], others: Iterable[str]) -> str:
  """Lists names, each with that of the others which is most like it."""
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
