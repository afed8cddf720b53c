"""PyTorch: the same network in channels_last, on one batch in memory."""

import contextlib
import json
import os
import sys

import serve
import torch
from torch import nn


def block(channels_in: int, features: int) -> nn.Sequential:
  """Makes convolution, batch norm and ReLU, twice."""
  layers = []
  for channels in (channels_in, features):
    layers += [
      nn.Conv2d(channels, features, 3, padding=1, bias=False),
      nn.BatchNorm2d(features),
      nn.ReLU(inplace=True),
    ]
  return nn.Sequential(*layers)


class UNet(nn.Module):
  """The U-Net of unet_jax, layer for layer."""

  def __init__(self, depth: int, width: int, planes: int):
    super().__init__()
    widths = [width * 2**i for i in range(depth + 1)]
    self.down = nn.ModuleList(map(block, [3, *widths[:-1]], widths))
    pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
    self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
    self.merge = nn.ModuleList(block(2 * b, b) for _, b in pairs)
    self.head = nn.Conv2d(width, planes, 1)

  def forward(self, x):
    skips = []
    for down in self.down[:-1]:
      skips.append(down(x))
      x = nn.functional.max_pool2d(skips[-1], 2)
    x = self.down[-1](x)
    for up, merge in zip(self.up, self.merge, strict=True):
      x = merge(torch.cat([skips.pop(), up(x)], 1))
    return self.head(x)


def dice_loss(logits, target):
  """Computes unet_jax's soft Dice of the foreground plus cross entropy."""
  logits = logits.float()
  probs = logits.softmax(1)[:, 1:]
  planes = nn.functional.one_hot(target, 4).permute(0, 3, 1, 2)[:, 1:].float()
  overlap = (probs * planes).sum((0, 2, 3))
  total = (probs + planes).sum((0, 2, 3))
  dice = 1 - ((2 * overlap + 1) / (total + 1)).mean()
  return dice + nn.functional.cross_entropy(logits, target)


def main() -> None:
  """Builds the network that the arguments, as JSON, describe, and serves it."""
  args = json.loads(sys.argv[1])
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.backends.cudnn.benchmark = True  # Times algorithms, uses the fastest.
  shape = (args['batch'], 3, args['size'], args['size'])
  net = UNet(args['depth'], args['width'], 4).to(device)
  net = net.to(memory_format=torch.channels_last)
  parameters = sum(p.numel() for p in net.parameters())
  optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=device == 'cuda')
  loss_fn = dice_loss
  if args.get('compile'):
    net, loss_fn = torch.compile(net), torch.compile(loss_fn)
  image = torch.randn(shape, device=device)
  image = image.to(memory_format=torch.channels_last)
  target = torch.randint(0, 4, (shape[0], *shape[2:]), device=device)

  def autocast():
    if args['precision'] == 'bfloat16':
      return torch.autocast(device, torch.bfloat16)
    return contextlib.nullcontext()

  def train(steps: int) -> None:
    net.train()
    for _ in range(steps):
      optimizer.zero_grad(set_to_none=True)
      with autocast():
        logits = net(image)
      loss = loss_fn(logits, target)
      loss.backward()
      optimizer.step()
    loss.item()

  def infer(steps: int) -> None:
    net.eval()
    with torch.inference_mode(), autocast():
      for _ in range(steps):
        logits = net(image).float()
    logits[0, 0, 0, 0].item()

  serve.serve(
    train, infer, parameters=parameters, version=f'torch {torch.__version__}'
  )


if __name__ == '__main__':
  main()
