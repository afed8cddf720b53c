"""Cuts windows out of images that are in the device's memory."""

import jax
import jax.numpy as jnp

from unet_jax.data import codes, packed


def cut(
  examples: packed.Packed, places: dict[str, jax.Array], *, side: int
) -> dict[str, jax.Array]:
  """Cuts a batch of windows, with the same bits as crops.cut on the host.

  Args:
    examples: all images and labels, on the device.
    places: int32[B] each: `example`, the index of the image; `top` and `left`
      of the window, which may lie outside the image; and `index`, which is
      returned unchanged.
    side: W, side of the windows, in pixels.

  Returns:
    image [B, W, W, C], with edge replication outside the image; label
    uint8[B, W, W] or [B, W, W, K], void outside; weight_map float32[B, W, W],
    with edge replication, if there are weight maps; mean and std float32[B, C],
    if there are some; and index int32[B].
  """

  def window(example: jax.Array, top: jax.Array, left: jax.Array) -> dict:
    height, width = examples.shape[example]
    rows, cols = top + jnp.arange(side), left + jnp.arange(side)
    row, col = jnp.clip(rows, 0, height - 1), jnp.clip(cols, 0, width - 1)
    pixel = examples.offset[example] + row[:, None] * width + col[None, :]
    inside = (row == rows)[:, None] & (col == cols)[None, :]  # [W, W]
    label = examples.label[pixel]
    inside = inside.reshape(side, side, *(1,) * (label.ndim - 2))
    arrays = {
      'image': examples.image[pixel],
      'label': jnp.where(inside, label, jnp.uint8(codes.VOID)),
    }
    if examples.weight_map is not None:
      arrays['weight_map'] = examples.weight_map[pixel]
    return arrays | {key: x[example] for key, x in examples.own.items()}

  cut_each = jax.vmap(window)
  arrays = cut_each(places['example'], places['top'], places['left'])
  return arrays | {'index': places['index']}
