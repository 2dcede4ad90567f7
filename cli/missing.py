"""What the original and its later releases have, and this program has not."""

MISSING_COMMANDS = {
    "seal-oem": "The OEM partition cannot be sealed yet.",
    "disable-auto-update": "Automatic updates are disabled on the builder VM only, by its metadata.",
    "anthos-installer-install": "What it installs from is not public; a run-script step can install it.",
}
"""Build steps, and what to know of their absence."""

MISSING_FLAGS = {
    "oem-size": "The OEM partition cannot be resized yet.",
    "sbom-input-path": "A software bill of materials is not written yet.",
    "sbom-output-path": "A software bill of materials is not written yet.",
}
"""Flags, without hyphens."""
