"""Trains U-Nets for image segmentation on JAX, with numbers to trust."""

__version__ = '0.1.0'
