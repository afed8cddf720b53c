"""Trains U-Nets for image segmentation on JAX, with numbers to trust."""
