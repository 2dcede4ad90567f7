"""What the original and its later releases have, and this program has not."""

MISSING_COMMANDS = {
    "anthos-installer-install": "What it installs from is not public; a run-script step can install it.",
}
"""Build steps, and what to know of their absence."""
