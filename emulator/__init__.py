"""A local Compute Engine, Cloud Storage and Cloud Logging, and a runner of Cloud Build workflows."""

import logging

LOG = logging.getLogger(__name__)
"""The logger of the whole emulator."""
