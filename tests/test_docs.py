"""The pages of docs/: their links, the site's list of them, copied numbers."""

import importlib
import re
import shlex

import numpy as np
import pytest
from commands import ROOT, start

from unet_jax import __main__ as verbs
from unet_jax import command_line

DOCS = ROOT / 'docs'
PAGES = sorted(DOCS.glob('*.md'))
GUIDE = DOCS / 'guide.md'
MOST_BYTES = 600_000  # Of the guide's figures.


def anchors(path):
  """Returns the anchors of a page's headings."""
  headings = re.findall(r'^#+ (.*)$', path.read_text(), re.MULTILINE)
  return {
    re.sub(r'[^\w -]', '', heading).strip().lower().replace(' ', '-')
    for heading in headings
  }


@pytest.mark.parametrize('page', PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
  for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
    if link.startswith('http'):
      continue
    name, _, anchor = link.partition('#')
    target = (DOCS / name).resolve() if name else page
    assert target.exists(), link
    assert not anchor or anchor in anchors(target), link


def test_the_site_and_the_index_name_every_page():
  site = (ROOT / 'mkdocs.yml').read_text()
  index = (DOCS / 'README.md').read_text()
  for page in PAGES:
    assert re.search(rf' {re.escape(page.name)}$', site, re.MULTILINE)
    assert page.name == 'README.md' or f'- [{page.name}]' in index


def test_tables_of_performance_are_those_of_the_benchmarks():
  measured = (ROOT / 'benchmarks/README.md').read_text().splitlines()
  page = (DOCS / 'performance.md').read_text().splitlines()
  rows = [line for line in page if line.startswith('|')]
  assert len(rows) > 10
  assert {*rows} <= {*measured}
  text = ' '.join(measured)
  prose = ' '.join(line for line in page if not line.startswith('|'))
  for number in re.findall(r'\b\d+\.\d+(?= [s%])', prose):
    assert re.search(rf'\b{re.escape(number)}\b', text), number


def test_the_guide_has_its_figures_and_they_are_small():
  figures = re.findall(r'!\[[^]]+\]\((\S+)\)', GUIDE.read_text())
  assert {DOCS / name for name in figures} == {*(DOCS / 'guide').iterdir()}
  sizes = [(DOCS / name).stat().st_size for name in figures]
  assert 0 < sum(sizes) < MOST_BYTES


def test_the_numbers_of_the_guide_are_not_typed_by_hand():
  template = (DOCS / 'guide.md.jinja').read_text()
  prose = re.sub(r'{[{%].*?[%}]}', '', template, flags=re.DOTALL)
  assert not re.findall(r'\b\d+\.\d|\d %', prose)


def shell_commands(path):
  """Yields the `unet-jax` commands of a page as lists of words."""
  blocks = re.findall(r'(?:^    .*\n)+', path.read_text(), re.MULTILINE)
  for block in blocks:
    text = block.replace('\\\n', ' ')
    for line in text.splitlines():
      if line.strip().startswith('unet-jax '):
        yield shlex.split(line)


def test_the_commands_of_the_guide_are_accepted():
  commands = [*shell_commands(GUIDE)]
  assert len(commands) > 3
  for _, verb, *words in commands:
    command_line._parse(verbs.VERBS[verb].COMMAND, words)


def test_the_guide_is_made_of_its_template():
  """Every line of the template without a field stands in the page."""
  page = GUIDE.read_text().splitlines()
  template = (DOCS / 'guide.md.jinja').read_text()
  text = re.sub(r'{% if .*?endif %}\n', '', template, flags=re.DOTALL)
  fixed = [x for x in text.splitlines() if not re.search(r'{{|{%', x)]
  assert {*fixed} <= {*page}


def test_the_guide_scores_predictions_as_by_hand(monkeypatch):
  monkeypatch.syspath_prepend(DOCS)
  guide_scores = importlib.import_module('guide_scores')
  truth = np.zeros((1, 2, 2, 3), bool)
  truth[..., 0] = True
  truth[0, 0, 0] = False, True, False  # One of four pixels is red.
  perfect, background = guide_scores.of_predictions(truth)
  assert perfect['additive'] == 2  # Bright lesions do not occur.
  assert (perfect['accuracy'], perfect['negative']) == (1, -1)
  assert background['accuracy'] == 3 / 4
  assert background['ce'] == pytest.approx(10 / 4 + np.log1p(2 * np.exp(-10)))
  assert background['dice'] == pytest.approx((1 / 2 + 0) / 2)
  assert background['negative'] == pytest.approx(-7 / 9)
  assert background['additive'] == pytest.approx(6 / 7)


@pytest.mark.slow
@pytest.mark.process
def test_the_guide_is_written_by_its_script(tmp_path):
  output = tmp_path / 'pages'
  process = start(
    *('docs/guide.py', '--steps=4', '--output', output),
    *('--runs', tmp_path / 'runs'),
  )
  assert process.wait(timeout=1200) == 0
  page = (output / 'guide.md').read_text()

  def headings(text):
    return [line for line in text.splitlines() if line.startswith('#')]

  assert headings(page) == headings(GUIDE.read_text())
  names = {path.name for path in (DOCS / 'guide').iterdir()}
  assert {path.name for path in (output / 'guide').iterdir()} == names


def test_no_page_names_a_folder_of_a_machine():
  for page in PAGES:
    assert not re.search(r'/(root|work|tmp)/', page.read_text()), page
