"""Cuts windows out of images that lie on the device."""

import jax
import jax.numpy as jnp

from unet_jax.data import codes, packed


def cut(
  examples: packed.Packed, places: dict[str, jax.Array], *, side: int
) -> dict[str, jax.Array]:
  """Cuts a batch, to the bit as crops.cut does on the host.

  Args:
    examples: on the device.
    places: int32[B] each: `example`, a window's `top` and `left`, which may lie
      outside the image, and `index`, which is passed on.
    side: W, of the windows.

  Returns:
    image uint8[B, W, W, C], by edge replication outside an image; label
    uint8[B, W, W] or [B, W, W, K], void outside; weight_map float32[B, W, W],
    like the image, if there are maps; and index int32[B].
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
    return arrays

  cut_each = jax.vmap(window)
  arrays = cut_each(places['example'], places['top'], places['left'])
  return arrays | {'index': places['index']}
