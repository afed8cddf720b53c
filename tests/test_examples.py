"""What README and the notebook show of Python, run as it stands."""

import contextlib
import io
import json
import re

import numpy as np
import pytest
from commands import ROOT, write_images

SMALL = (
  "'image_size': 32, 'batch_size': 4, 'total_steps': 4, 'eval_every': 4, "
  "'model.depth': 1, 'model.width': 4"
)


def run_code(code, folder):
  """Runs code in a folder; returns what it defines, and what it prints."""
  defined = {}
  with (
    contextlib.chdir(folder),
    contextlib.redirect_stdout(io.StringIO()) as out,
  ):
    exec(compile(code, 'example', 'exec'), defined)
  return defined, out.getvalue()


@pytest.mark.slow
def test_the_notebook_trains_and_predicts(tmp_path):
  notebook = json.loads((ROOT / 'examples/own_images.ipynb').read_text())
  cells = [
    ''.join(cell['source'])
    for cell in notebook['cells']
    if cell['cell_type'] == 'code'
  ]
  shown, _ = run_code('\n'.join(cells), tmp_path)
  assert shown['run'].scores['val']['pooled']['macro']['f1'] > 0.7
  assert len(shown['masks']) == 6


def test_the_python_of_readme_trains_and_predicts(tmp_path):
  readme = (ROOT / 'README.md').read_text()
  (code,) = re.findall(r'```python\n(.*?)```', readme, re.DOTALL)
  assert len(code.splitlines()) <= 8
  root = "'data.root': 'my_images'"
  assert root in code
  write_images(tmp_path / 'my_images', 6)
  shown, text = run_code(code.replace(root, f'{root}, {SMALL}'), tmp_path)
  for part in ('steps per epoch', 'step 4  val macro F1', 'blind F1'):
    assert part in text
  run, mask, probs = shown['run'], shown['mask'], shown['probs']
  assert run.step == 4
  assert run.classes == ('background', 'foreground')
  assert (mask.shape, mask.dtype) == ((72, 96), np.uint8)
  assert (probs.shape, probs.dtype) == ((72, 96, 2), np.float32)
  np.testing.assert_array_equal(mask, probs[..., 1] > 0.5)
  np.testing.assert_allclose(probs.sum(axis=-1), 1, atol=1e-6)
  before = run.scores['val']['pooled']
  with contextlib.chdir(tmp_path):
    # The last split is val, since there is no test.
    assert run.evaluate()['pooled'] == before
  assert list(run.scores) == ['val']


def test_readme_is_a_page_of_at_most_100_lines():
  assert len((ROOT / 'README.md').read_text().splitlines()) <= 100


def test_every_link_of_the_documentation_leads_to_a_file():
  pages = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']
  pages += (ROOT / 'docs').glob('*.md')
  for page in pages:
    for link in re.findall(r'\]\(([^)]*)\)', page.read_text()):
      if not link.startswith('http'):
        target = page.parent / link.partition('#')[0]
        assert target.exists(), f'{page.name}: {link}'


def test_the_index_of_the_documentation_names_every_page():
  index = (ROOT / 'docs/README.md').read_text()
  for page in (ROOT / 'docs').glob('*.md'):
    assert page.name == 'README.md' or f'({page.name})' in index
