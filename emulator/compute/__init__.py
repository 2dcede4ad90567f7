"""Compute Engine's API and what stands behind it."""
