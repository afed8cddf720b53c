"""Presets: `--config NAME[:VARIANT]` takes NAME.py of this folder.

They are installed as `unet_jax.configs`; unet_jax/config_files.py reads them.
"""
