"""Writes a trained model as files that other programs read."""

import importlib.util
import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from unet_jax import errors, text_files
from unet_jax.evaluation import trained
from unet_jax.export import network, stablehlo

FOLDER = 'export'  # In the folder of a run.


class Format(NamedTuple):
  """A format: the package that it needs, and what encodes a model."""

  package: str
  encode: Callable[[trained.Trained], bytes]
  is_described: bool  # Whether the facts of network.describe are inside.


def write(
  model: trained.Trained, workdir: pathlib.Path, name: str
) -> list[pathlib.Path]:
  """Writes a model in the format of FORMATS, into export/ of the run's folder.

  Returns:
    The files: model.<name>, and model.json with the facts of network.describe
    where the format has no place for them.

  Raises:
    InputError: if a package is missing, or a file cannot be written.
  """
  kind = FORMATS[name]
  if not importlib.util.find_spec(kind.package):
    raise errors.InputError(
      f'--format={name} needs {kind.package}: pip install {kind.package}'
    )
  if model.predictor.normalise != 'dataset':
    raise errors.InputError(
      f'{workdir}: its config.data.normalise={model.predictor.normalise} needs '
      'all of an image, which an exported network does not see; only runs with '
      'config.data.normalise=dataset can be exported'
    )
  path = workdir / FOLDER / f'model.{name}'
  contents = {path: kind.encode(model)}
  if not kind.is_described:
    facts = json.dumps(network.describe(model), indent=2) + '\n'
    contents[path.with_suffix('.json')] = facts.encode()
  try:
    path.parent.mkdir(exist_ok=True)
    for file, content in contents.items():
      text_files.write_bytes(file, content)
  except OSError as error:
    raise errors.InputError(
      f'{path} cannot be written ({error.strerror or error}); correct that'
    ) from None
  return list(contents)


def _onnx(model: trained.Trained) -> bytes:
  from unet_jax.export import onnx_model  # Its package may be missing.

  return onnx_model.encode(model)


def _safetensors(model: trained.Trained) -> bytes:
  """Returns the weights by their paths; the facts are JSON in the header."""
  import safetensors.numpy  # The package may be missing.

  facts = network.describe(model)
  header = {key: json.dumps(value) for key, value in facts.items()}
  return safetensors.numpy.save(network.arrays(model), header)


FORMATS = {
  'stablehlo': Format('flatbuffers', stablehlo.encode, is_described=False),
  'onnx': Format('onnx', _onnx, is_described=True),
  'safetensors': Format('safetensors', _safetensors, is_described=True),
}
