"""A run keeps when it trained, on what, and what it warned of."""

import json

import pytest

from unet_jax import errors
from unet_jax.evaluation.report import journal as report_journal
from unet_jax.training import journal

BEGIN = dict(
  event='begin',
  text='',
  precision='float32',
  versions={'jax': '1.2', 'numpy': '3'},
  images='train 3',
  notes=['no val'],
)
WARNING = dict(event='warning', step=9, text='a\nb')
ROWS = [
  dict(time='2026-01-02T23:50:00+00:00', step=0, devices='1 x gpu', **BEGIN),
  dict(time='2026-01-02T23:52:00+00:00', **WARNING),
  dict(time='2026-01-02T23:53:00+00:00', event='end', step=0, text='SIGTERM'),
  dict(time='2026-01-03T01:00:00+00:00', step=5, devices='2 x gpu', **BEGIN),
  dict(time='2026-01-03T01:02:30+00:00', **WARNING),
]


def read(folder):
  lines = (folder / 'journal.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def said(rows, **settings):
  """Returns severity, title and text of what the report says."""
  shown = report_journal.findings(rows, **settings)
  return [(x['severity'], x['title'], x['text']) for x in shown]


def test_a_session_that_fails_says_why(tmp_path):
  def train():
    with journal.session(tmp_path, 3, devices='a cpu'):
      journal.add(tmp_path, 'warning', 4, 'slow')
      raise errors.InputError('the run diverged')

  with pytest.raises(errors.InputError, match='the run diverged'):
    train()
  rows = read(tmp_path)
  assert [(row['event'], row['step'], row['text']) for row in rows] == [
    *(('begin', 3, ''), ('warning', 4, 'slow')),
    ('end', 3, 'the run diverged'),
  ]
  assert rows[0]['devices'] == 'a cpu'


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
  (tmp_path / 'journal.jsonl').mkdir()
  journal.add(tmp_path, 'warning', 4, 'slow')


def test_minutes_are_those_of_all_sessions():
  facts = dict(report_journal.facts(ROWS))
  # Three minutes, and two and a half, as far as the second has got.
  assert facts['trained'] == (
    '2026-01-02 23:50 to 2026-01-03 01:02, 5.5 minutes in 2 sessions'
  )
  assert facts['trained on'] == '2 x gpu'
  assert facts['trained with'] == 'jax 1.2, numpy 3'
  facts = dict(report_journal.facts(ROWS[:3]))
  assert facts['trained'] == '2026-01-02 23:50 to 23:53, 3 minutes'
  assert report_journal.facts([]) == []


def test_a_repeated_warning_is_said_once():
  warned = [('note', 'ended', 'SIGTERM'), ('warning', 'step 9', 'a\nb')]
  assert sorted(said(ROWS, with_notes=False)) == warned
  noted = [('note', 'data', 'no val'), *warned]
  assert sorted(said(ROWS, with_notes=True)) == noted
