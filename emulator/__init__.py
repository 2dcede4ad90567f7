"""A local Compute Engine, Cloud Storage, Cloud Logging and Secret Manager, and a runner of Cloud Build workflows."""

import logging

LOG = logging.getLogger(__name__)
"""The logger of the whole emulator."""
