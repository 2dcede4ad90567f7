"""A local Compute Engine, with its metadata server and Cloud Storage: build images without a Google account."""
