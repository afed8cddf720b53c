"""Writes a network as an ONNX model, layer by layer, as unet.py builds it."""

import functools
import json

import flax.linen as nn
import numpy as np
import onnx

from unet_jax import build
from unet_jax.evaluation import trained
from unet_jax.export import network, operators
from unet_jax.nn import norm, tutorial_unet, unet

OPSET = 21  # The first with GroupNormalization of one scale per channel.
IR_VERSION = (
  10  # Of the onnx that brought OPSET; onnxruntime has it since 1.18.
)


def encode(model: trained.Trained) -> bytes:
  """Returns the model: `image` float32[B, H, W, C] -> `probabilities`.

  B, H and W are symbolic, H and W multiples of network.multiple. The facts of
  network.describe are metadata, each as JSON.
  """
  predictor = model.predictor
  graph = operators.Graph(network.arrays(model), [], [])
  x = _normalise(graph, predictor.mean, predictor.std)
  logits = _layers(graph, x, predictor.model)
  last = operators.add(
    *(graph, 'Transpose', 'logits', logits), perm=[0, 2, 3, 1]
  )
  if predictor.classes.exclusive:
    operators.add(graph, 'Softmax', 'probabilities', last, axis=-1)
  else:
    operators.add(graph, 'Sigmoid', 'probabilities', last)
  sides = 'batch', 'height', 'width'
  channels, num_planes = len(predictor.mean), len(predictor.classes.planes)
  value, dtype = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
  whole = onnx.helper.make_graph(
    graph.nodes,
    'unet_jax',
    [value('image', dtype, (*sides, channels))],
    [value('probabilities', dtype, (*sides, num_planes))],
    graph.constants,
  )
  proto = onnx.helper.make_model(
    whole,
    opset_imports=[onnx.helper.make_opsetid('', OPSET)],
    ir_version=IR_VERSION,
    producer_name='unet_jax',
  )
  facts = network.describe(model).items()
  onnx.helper.set_model_props(proto, {k: json.dumps(x) for k, x in facts})
  return proto.SerializeToString()


def _normalise(graph: operators.Graph, mean, std) -> str:
  """Turns the image into (image - mean) / std, float32[B, C, H, W]."""
  x = 'image'
  for kind, name, values in (('Sub', 'mean', mean), ('Div', 'std', std)):
    values = operators.constant(graph, name, np.array(values, np.float32))
    x = operators.add(graph, kind, f'image/{name}', x, values)
  return operators.add(graph, 'Transpose', 'image/planes', x, perm=[0, 3, 1, 2])


def _layers(graph: operators.Graph, x: str, model: build.Model) -> str:
  """Adds the layers of a network; returns the name of the logits."""
  if isinstance(model, tutorial_unet.TutorialUNet):
    return _tutorial(graph, x, model)
  return _unet(graph, x, model)


def _unet(graph: operators.Graph, x: str, model: unet.UNet) -> str:
  """Adds the layers of unet.UNet; see `_layers`."""
  block = functools.partial(_block, graph, model)
  if model.residual:
    x = operators.conv(graph, x, 'stem')
  skips = []
  for i in range(model.depth):
    skips.append(block(x, f'down{i}', dilation=2 if i < model.dilated else 1))
    x = operators.max_pool(graph, skips[-1])
  x = block(x, 'bottleneck')
  for i in reversed(range(model.depth)):
    x = operators.up_conv(graph, x, f'up{i}')
    x = operators.concat(graph, (skips[i], x), f'merge{i}')
    x = block(x, f'merge{i}')
  return operators.conv(graph, x, 'head')


def _block(
  graph: operators.Graph,
  model: unet.UNet,
  x: str,
  path: str,
  *,
  dilation: int = 1,
) -> str:
  """Adds the layers of unet.ConvBlock."""
  y = x
  for i in range(2):
    steps = [
      functools.partial(
        operators.conv, path=f'{path}/conv{i}', dilation=dilation
      ),
      functools.partial(_norm_relu, path=f'{path}/norm{i}', kind=model.norm),
    ]
    for step in reversed(steps) if model.residual else steps:
      y = step(graph, y)
  if not model.residual:
    return y
  if f'params/{path}/shortcut/kernel' in graph.arrays:
    x = operators.conv(graph, x, f'{path}/shortcut')
  return operators.add(graph, 'Add', f'{path}/sum', x, y)


def _norm_relu(graph: operators.Graph, x: str, path: str, kind: str) -> str:
  """Adds the norm of a kind, if it is not `none`, and ReLU."""
  if kind == 'batch':
    epsilon = norm.BatchNormRelu.epsilon
    x = operators.batch_norm(graph, x, path, epsilon=epsilon)
  elif kind == 'group':
    channels = len(graph.arrays[f'params/{path}/scale'])
    x = operators.group_norm(
      *(graph, x, path),
      num_groups=unet.num_groups(channels),
      epsilon=nn.GroupNorm.epsilon,
    )
  return operators.relu(graph, x)


def _tutorial(
  graph: operators.Graph, x: str, model: tutorial_unet.TutorialUNet
) -> str:
  """Adds the layers of tutorial_unet.TutorialUNet; see `_layers`."""

  def block(x: str, path: str, dilation: int = 1) -> str:
    for i in range(2):
      x = operators.conv(graph, x, f'{path}/conv{i}', dilation=dilation)
      x = operators.relu(graph, x)
      if f'params/{path}/norm{i}/scale' in graph.arrays:
        x = operators.batch_norm(
          *(graph, x, f'{path}/norm{i}'), epsilon=tutorial_unet.EPSILON
        )
    return x

  skips = []
  for i in range(model.depth):
    x = block(x, f'down{i}', dilation=2 if i < model.dilated else 1)
    skips.append(x)
    x = operators.max_pool(graph, x)
  x = block(x, 'bottleneck')
  if model.two_bottlenecks:
    x = block(x, 'bottleneck1')
  for i in reversed(range(model.depth)):
    x = operators.repeat(graph, x, f'up{i}')
    x = operators.relu(graph, operators.conv(graph, x, f'up{i}'))
    x = operators.concat(graph, (skips[i], x), f'merge{i}')
    x = block(x, f'merge{i}')
  if model.narrow:
    x = operators.relu(graph, operators.conv(graph, x, 'narrow'))
  return operators.conv(graph, x, 'head')
