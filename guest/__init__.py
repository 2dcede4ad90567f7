"""What runs on the builder VM: bash scripts, the cloud-config that carries them, the serial protocol."""
