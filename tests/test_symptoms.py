"""Every message has a row in the table of symptoms, and every remedy works."""

import ast
import inspect
import re
import shlex

import pytest
from commands import ROOT

from unet_jax import __main__ as verbs
from unet_jax import command_line
from unet_jax.doctor import causes, checks, overfit, symptoms
from unet_jax.evaluation import tables
from unet_jax.training import collapse, monitor, trace

# Functions -> how many messages they make.
SPEAKERS = {
  monitor.Monitor.report_skipped: 1,
  monitor.Monitor.report_still: 1,
  monitor.Monitor.why_lost: 2,
  monitor.Monitor.why_stopped: 1,
  trace.explain: 6,
}
REMEDIES = {title: mend for title, (_, mend) in causes.CAUSES.items()}
REMEDIES |= {row.says: row.mend for row in symptoms.TRAINING}
# What a remedy names in general, and an example of it.
EXAMPLES = {'PRESET': 'binary:tiny', 'FOLDER': 'x', 'NAME': 'a', 'RULE': '(a)'}


def messages(function):
  """Yields the literal text of the strings that a function returns."""
  source = inspect.cleandoc(f'\n{inspect.getsource(function)}')
  for node in ast.walk(ast.parse(source)):
    if not isinstance(node, ast.Return) or node.value is None:
      continue
    values = getattr(node.value, 'elts', [node.value])
    for value in values:
      parts = getattr(value, 'values', [value])
      text = '...'.join(
        str(x.value) for x in parts if isinstance(x, ast.Constant)
      )
      if text:
        yield text


def quotes(text):
  """Returns the rows that quote a text."""
  return [
    row
    for row in symptoms.TRAINING
    if all(part.strip() in text for part in row.says.split('...'))
  ]


@pytest.mark.parametrize('speaker', SPEAKERS, ids=lambda x: x.__qualname__)
def test_every_message_of_training_has_a_row(speaker):
  said = [*messages(speaker)]
  assert len(said) == SPEAKERS[speaker]
  for text in said:
    assert len(quotes(text)) == 1, text


def test_every_collapse_has_a_row():
  for state in collapse.REMEDIES:
    assert len(quotes(f'{state}: in the last 30 steps')) == 1


def test_quotations_of_the_overfit_check_and_the_scores_are_in_the_code():
  code = inspect.getsource(overfit) + inspect.getsource(tables)
  code += inspect.getsource(monitor) + inspect.getsource(trace)
  code = re.sub(r"'\s+f?'", '', code)
  for row in symptoms.TRAINING:
    if not row.says.startswith(tuple(collapse.REMEDIES)):
      for part in row.says.split('...'):
        assert part.strip(' ,:') in code, row.says


def test_every_finding_has_a_row_and_no_row_is_left_over():
  assert {*causes.CAUSES} == {check.title for check in checks.CHECKS}


@pytest.mark.parametrize('says', REMEDIES)
def test_every_remedy_is_accepted(says):
  for text in re.findall('`([^`]*)`', REMEDIES[says]):
    for general, example in EXAMPLES.items():
      text = text.replace(general, example)
    words = shlex.split(text)
    if text.startswith('--'):
      words = ['unet-jax', 'train', '--config', 'binary:folder', *words]
    if words[0] == 'unet-jax':
      command = verbs.VERBS[words[1]].COMMAND
      command_line._parse(command, words[2:])


def test_the_page_has_the_table():
  page = (ROOT / 'docs/symptoms.md').read_text()
  assert page == f'{symptoms.page()}\n', (
    'python -m unet_jax.doctor.symptoms > docs/symptoms.md'
  )
