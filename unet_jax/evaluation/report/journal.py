"""Reads the journal of a run, which training.journal writes."""

import datetime
from collections.abc import Sequence

DAY = '%Y-%m-%d %H:%M'


def facts(rows: Sequence[dict]) -> list[tuple[str, str]]:
  """Returns when a run trained, for how long, and on what."""
  sessions: list[list[dict]] = []
  for row in rows:
    if row['event'] == 'begin':
      sessions.append([])
    if sessions:
      sessions[-1].append(row)
  if not sessions:
    return []
  spans = [(_time(rows[0]), _time(rows[-1])) for rows in sessions]
  minutes = sum((end - begin).total_seconds() for begin, end in spans) / 60
  first, last = spans[0][0], spans[-1][1]
  until = f'{last:%H:%M}' if first.date() == last.date() else f'{last:{DAY}}'
  text = f'{first:{DAY}} to {until}, {minutes:.3g} minutes'
  if len(sessions) > 1:
    text += f' in {len(sessions)} sessions'
  begin = sessions[-1][0]
  versions = ', '.join(f'{k} {v}' for k, v in begin['versions'].items())
  return [
    ('images', begin['images']),
    ('trained', text),
    ('trained on', begin['devices']),
    ('precision', begin['precision']),
    ('trained with', versions),
  ]


def findings(rows: Sequence[dict], *, with_notes: bool) -> list[dict]:
  """Returns what the run said of its data and warned of, as findings.

  Args:
    rows: of the journal. A run that resumed may have repeated a warning.
    with_notes: whether to return what was said of the data.
  """
  texts: dict[tuple[str, str], str] = {}  # Title and text -> severity.
  for row in rows:
    if row['event'] == 'begin' and with_notes:
      texts |= {('data', note): 'note' for note in row['notes']}
    elif row['event'] == 'end' and row['text']:
      texts['ended', row['text']] = 'note'
    elif row['event'] in ('note', 'warning'):
      texts[f'step {row["step"]}', row['text']] = row['event']
  plain = dict(remedy='', command='', files=())
  return [
    dict(severity=severity, title=title, text=text, **plain)
    for (title, text), severity in texts.items()
  ]


def _time(row: dict) -> datetime.datetime:
  return datetime.datetime.fromisoformat(row['time'])
