"""Unspoken: language models that reason in a continuous latent space."""

__version__ = "0.1.0"
