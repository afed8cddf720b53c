"""An exported model computes what the run computes, without this package."""

import contextlib
import importlib.util
import json
import re
import types

import jax
import jax.export
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
import scipy.special
from commands import ROOT, call, weights
from PIL import Image
from test_old_run import unpack

from unet_jax import build
from unet_jax.evaluation import decisions, trained
from unet_jax.evaluation import predictor as predictor_lib
from unet_jax.export import network, onnx_model, stablehlo

CHANNELS = 3
# The options that change the network, each in one model at least.
OPTIONS = {
  'batch': {'model.dilated': 1, 'model.dropout': 0.5},
  'group': {'model.norm': 'group', 'model.width': 6},
  'none': {'model.norm': 'none', 'model.depth': 1, 'model.remat': 1},
  'residual': {'model.name': 'residual', 'task': 'multilabel'},
  'tutorial': {'model.name': 'tutorial', 'model.dilated': 1},
  'vessels': {'model.name': 'tutorial_vessels', 'task': 'binary'},
  'lesions': {'model.name': 'tutorial_lesions', 'model.depth': 1},
}
# Variances are small, so that the epsilon of a norm matters.
RANGES = {
  'scale': (0.1, 0.3),
  'bias': (-0.2, 0.2),
  'mean': (-0.2, 0.2),
  'var': (0.01, 0.1),
}


def make(load_config, **settings):
  """Returns a model with random weights, as trained.load would."""
  small = {'model.depth': 2, 'model.width': 4, 'window': 32}
  config = load_config('multiclass:tiny', **small | settings)
  names = ('a',) if config.task == 'binary' else ('a', 'b')
  classes = build.make_classes(config, names)
  predictor = predictor_lib.make(
    config, classes, mean=(90.0, 120, 150), std=(30.0, 50, 70)
  )
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    if path[-1].key == 'kernel':  # Keeps the scale of the features.
      size = np.prod(leaf.shape[:-1])
      return rng.normal(0, (2 / size) ** 0.5, leaf.shape).astype(np.float32)
    return rng.uniform(*RANGES[path[-1].key], leaf.shape).astype(np.float32)

  shapes = trained.abstract_variables(predictor.model, CHANNELS)
  variables = jax.tree_util.tree_map_with_path(draw, shapes)
  return types.SimpleNamespace(
    config=config,
    predictor=predictor,
    variables=variables,
    step=7,
    rule=decisions.PLAIN,
  )


def images(*shape):
  rng = np.random.default_rng(sum(shape))
  return rng.integers(0, 256, (*shape, CHANNELS), np.uint8)


def expected(model, image):
  """Returns the probabilities: Flax's logits, and SciPy's activation."""
  predictor = model.predictor
  x = (image - np.float32(predictor.mean)) / np.float32(predictor.std)
  flax_model = predictor.model.clone(engine='xla', dtype=np.float32)
  logits = np.asarray(jax.jit(flax_model.apply)(model.variables, x))
  if model.config.task == 'multiclass':
    return scipy.special.softmax(logits, axis=-1)
  return scipy.special.expit(logits)


@pytest.mark.parametrize('name', OPTIONS)
def test_onnx_gives_the_probabilities_of_every_network(load_config, name):
  model = make(load_config, **OPTIONS[name])
  session = onnxruntime.InferenceSession(onnx_model.encode(model))
  for shape in ((2, 16, 24), (1, 36, 8)):
    image = images(*shape)
    (probs,) = session.run(None, {'image': np.float32(image)})
    right = expected(model, image)
    assert right.std() > 0.05
    np.testing.assert_allclose(probs, right, atol=1e-4)


def run_script(index, folder):
  """Runs a script of docs/export.md in a folder; returns what it defines."""
  page = (ROOT / 'docs/export.md').read_text()
  script = re.findall(r'```python\n(.*?)```', page, re.DOTALL)[index]
  shown = {}
  with contextlib.chdir(folder):
    exec(compile(script, 'docs/export.md', 'exec'), shown)
  return shown


def test_stablehlo_gives_the_probabilities_on_cpu_and_cuda(
  load_config, tmp_path
):
  model = make(load_config, task='multilabel')
  (tmp_path / 'model.stablehlo').write_bytes(stablehlo.encode(model))
  exported = run_script(1, tmp_path)['network']
  assert exported.platforms == ('cpu', 'cuda')
  image = images(2, 16, 24)
  probs = jax.jit(exported.call)(np.float32(image))
  np.testing.assert_allclose(probs, expected(model, image), atol=1e-5)
  # Any batch and any sides that are multiples of 4 are within the bounds.
  shape = jax.export.symbolic_shape('b, 4*h, 4*w, 3')
  jax.eval_shape(exported.call, jax.ShapeDtypeStruct(shape, np.float32))
  with pytest.raises(ValueError, match="value of 'rows'"):
    exported.call(np.float32(images(1, 18, 24)))


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """Gives the folder of a run, for reading and for export/."""
  folder = tmp_path_factory.mktemp('export')
  unpack(folder, 'data')
  return folder


def export(workdir, name, *args, **settings):
  args = ('--workdir', workdir, '--format', name, *args)
  return call('export', *args, **settings)


def test_each_format_says_what_a_program_must_know(workdir):
  folder = workdir / 'export'
  for name in ('onnx', 'stablehlo', 'safetensors'):
    assert f'written to {folder}/model.{name}\n' in export(workdir, name).stdout
  assert sorted(path.name for path in folder.iterdir()) == [
    *('model.json', 'model.onnx', 'model.safetensors', 'model.stablehlo')
  ]
  facts = json.loads((folder / 'model.json').read_text())
  assert facts['classes'] == ['background', 'red_lesions', 'bright_lesions']
  assert (facts['activation'], facts['multiple']) == ('softmax', 4)
  texts = {key: json.dumps(value) for key, value in facts.items()}
  model = onnx.load(folder / 'model.onnx')
  assert {x.key: x.value for x in model.metadata_props} == texts
  onnx.checker.check_model(model, full_check=True)
  with safetensors.safe_open(folder / 'model.safetensors', 'numpy') as file:
    assert file.metadata() == texts
  tensors = safetensors.numpy.load_file(folder / 'model.safetensors')
  step, arrays = weights(workdir, 'best')
  assert facts['step'] == step
  averaged = {
    '/'.join(re.findall(r"'(.*?)'", path)).removeprefix('averaged/'): array
    for path, array in arrays.items()
    if path.startswith("['averaged']")
  }
  assert tensors.keys() == averaged.keys()
  for path, array in averaged.items():
    np.testing.assert_array_equal(tensors[path], array)


def test_the_script_of_the_documentation_predicts_without_jax(
  load_config, tmp_path
):
  """For an image that fits into the window, it is what `predict` gives."""
  image = images(30, 23)
  Image.fromarray(image).save(tmp_path / 'photo.png')
  for task in ('multiclass', 'binary'):
    model = make(load_config, task=task, precision='float32')
    (tmp_path / 'model.onnx').write_bytes(onnx_model.encode(model))
    shown = run_script(0, tmp_path)
    assert not {'jax', 'unet_jax'} & shown.keys()
    probs = predictor_lib.probabilities(model.predictor, model.variables, image)
    np.testing.assert_allclose(shown['probs'], probs, atol=1e-4)
    mask = probs.argmax(axis=-1) if task == 'multiclass' else probs > 0.5
    assert np.mean(shown['mask'] != mask) < 1e-2


def test_thresholds_are_probabilities_of_each_plane(load_config, workdir):
  model = make(load_config, task='multilabel')
  assert network.describe(model)['thresholds'] == [0.5, 0.5]
  model.rule = decisions.Rule(thresholds=(0.0, np.log(3)))
  thresholds = network.describe(model)['thresholds']
  assert thresholds == pytest.approx([0.5, 0.75])
  done = export(workdir, 'onnx', '--thresholds', check=False)
  assert 'classes that exclude each other have none' in done.stderr


def test_a_missing_package_is_named_with_the_command(workdir, monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  done = export(workdir, 'onnx', check=False)
  assert done.returncode == 1
  assert done.stderr.endswith(
    'error: --format=onnx needs onnx: pip install onnx\n'
  )


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  unpack(tmp_path, 'data')
  (tmp_path / 'export').write_text('')
  done = export(tmp_path, 'safetensors', check=False)
  assert done.returncode == 1
  assert f'{tmp_path}/export/model.safetensors cannot be written' in done.stderr
