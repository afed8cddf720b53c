"""What is exported: weights, the function on images, and facts about both."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from scipy import special

from unet_jax import build
from unet_jax.evaluation import trained
from unet_jax.nn import preprocess

DTYPE = jnp.float32  # On every machine, whatever the run was trained in.


def arrays(model: trained.Trained) -> dict[str, np.ndarray]:
  """Returns the averaged weights and the statistics of batch norm.

  Their keys are paths, such as `params/down0/conv0/kernel`.
  """
  return traverse_util.flatten_dict(jax.device_get(model.variables), sep='/')


def plain(network: build.Model) -> build.Model:
  """Returns a network without the engine and the dtype of this machine."""
  return network.clone(engine='xla', dtype=DTYPE, axis_name=None)


def multiple(model: trained.Trained) -> int:
  """Returns the number of pixels of which both sides must be multiples."""
  return 2**model.config.model.depth


def make_function(model: trained.Trained) -> Callable[[jax.Array], jax.Array]:
  """Returns a function of images -> their probabilities.

  It maps float32[B, H, W, C], with the values of the files, to float32[B, H, W,
  K]. H and W are multiples of `multiple`. Normalisation is inside.
  """
  predictor = model.predictor
  variables = jax.device_get(model.variables)  # Not spread over devices.
  apply_fn: Callable = plain(predictor.model).apply
  is_softmax = predictor.classes.exclusive
  activation = jax.nn.softmax if is_softmax else jax.nn.sigmoid

  def probabilities(image: jax.Array) -> jax.Array:
    x = preprocess.normalise(image, predictor.mean, predictor.std)
    return activation(apply_fn(variables, x))

  return probabilities


def describe(model: trained.Trained) -> dict[str, Any]:
  """Returns what a program must know to use the network, for JSON.

  docs/export.md says what each entry means.
  """
  predictor, config = model.predictor, model.config
  classes = predictor.classes
  logits = model.rule.thresholds or (0.0,) * len(classes.planes)
  thresholds = [] if classes.exclusive else special.expit(logits).tolist()
  return {
    'classes': list(classes.planes),
    'activation': 'softmax' if classes.exclusive else 'sigmoid',
    'thresholds': thresholds,
    'mean': [float(x) for x in predictor.mean],
    'std': [float(x) for x in predictor.std],
    'channels': config.data.channels,
    'resize': config.data.resize,
    'window': predictor.window,
    'multiple': multiple(model),
    'padding': 'edge',
    'model': config.model.to_dict(),
    'step': model.step,
  }
