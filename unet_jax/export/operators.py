"""The operators of a U-Net in ONNX, on arrays [B, C, H, W].

Each takes the name of its input and returns the name of its result. What has
weights finds them by its path in the checkpoint, which also names the result.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper


class Graph(NamedTuple):
  """An ONNX graph that grows.

  Attributes:
    arrays: weights and statistics by path, from network.arrays.
    nodes: operators so far, in the order of computation.
    constants: tensors that the operators name as inputs.
  """

  arrays: Mapping[str, np.ndarray]
  nodes: list[onnx.NodeProto]
  constants: list[onnx.TensorProto]


def add(graph: Graph, kind: str, name: str, *inputs: str, **attributes) -> str:
  """Adds an operator of a kind of ONNX; returns the name of its result."""
  node = onnx.helper.make_node(kind, inputs, [name], name, **attributes)
  graph.nodes.append(node)
  return name


def constant(graph: Graph, name: str, array: np.ndarray) -> str:
  """Adds a tensor; returns its name."""
  tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
  graph.constants.append(tensor)
  return name


def conv(graph: Graph, x: str, path: str, *, dilation: int = 1) -> str:
  """Convolves with stride 1 and SAME padding; see conv.Conv.

  A kernel of even size is padded at the bottom and right.
  """
  kernel = graph.arrays[f'params/{path}/kernel']  # [kh, kw, C, K]
  totals = [dilation * (size - 1) for size in kernel.shape[:2]]
  before = [total // 2 for total in totals]
  after = [total - x for total, x in zip(totals, before, strict=True)]
  return add(
    *(graph, 'Conv', path, x),
    constant(graph, f'{path}/kernel', kernel.transpose(3, 2, 0, 1)),
    *_parameters(graph, path, 'bias'),
    dilations=[dilation, dilation],
    pads=[*before, *after],
  )


def up_conv(graph: Graph, x: str, path: str) -> str:
  """Computes a transposed convolution of size and stride 2; see conv.UpConv."""
  kernel = graph.arrays[f'params/{path}/kernel']  # [2, 2, C, K]
  return add(
    *(graph, 'ConvTranspose', path, x),
    constant(graph, f'{path}/kernel', kernel.transpose(2, 3, 0, 1)),
    *_parameters(graph, path, 'bias'),
    strides=[2, 2],
  )


def batch_norm(graph: Graph, x: str, path: str, *, epsilon: float) -> str:
  """Normalises by the running statistics."""
  affine = _parameters(graph, path, 'scale', 'bias')
  moments = [
    constant(graph, name, graph.arrays[f'batch_stats/{name}'])
    for name in (f'{path}/mean', f'{path}/var')
  ]
  inputs = x, *affine, *moments
  return add(graph, 'BatchNormalization', path, *inputs, epsilon=epsilon)


def group_norm(
  graph: Graph, x: str, path: str, *, num_groups: int, epsilon: float
) -> str:
  """Normalises each image by the moments of its groups of channels."""
  inputs = x, *_parameters(graph, path, 'scale', 'bias')
  settings = dict(num_groups=num_groups, epsilon=epsilon)
  return add(graph, 'GroupNormalization', path, *inputs, **settings)


def relu(graph: Graph, x: str) -> str:
  """Computes the positive part."""
  return add(graph, 'Relu', f'{x}/relu', x)


def max_pool(graph: Graph, x: str) -> str:
  """Takes the maximum of 2x2 windows."""
  sizes = dict(kernel_shape=[2, 2], strides=[2, 2])
  return add(graph, 'MaxPool', f'{x}/pool', x, **sizes)


def concat(graph: Graph, xs: tuple[str, ...], path: str) -> str:
  """Concatenates along the channels."""
  return add(graph, 'Concat', f'{path}/input', *xs, axis=1)


def repeat(graph: Graph, x: str, path: str) -> str:
  """Repeats each pixel in both directions."""
  scales = constant(graph, f'{path}/scales', np.array([1, 1, 2, 2], np.float32))
  return add(
    *(graph, 'Resize', f'{path}/repeated', x, '', scales),
    mode='nearest',
    coordinate_transformation_mode='asymmetric',
    nearest_mode='floor',
  )


def _parameters(graph: Graph, path: str, *names: str) -> list[str]:
  """Adds those parameters of a layer that it has; returns their names."""
  paths = [f'{path}/{name}' for name in names]
  return [
    constant(graph, path, graph.arrays[f'params/{path}'])
    for path in paths
    if f'params/{path}' in graph.arrays
  ]
