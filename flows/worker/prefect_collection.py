"""What Prefect loads to know our worker: the entry point `prefect.collections` names this module."""

import sys

# A server loads collections for their blocks, and a build may have a server of its own: it starts no worker.
if "prefect.server.api.server" not in sys.modules or "prefect.workers.base" in sys.modules:
    import cos_customizer.flows.worker.worker  # noqa: F401
