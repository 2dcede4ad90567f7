"""The builder VM's side: bash scripts, the cloud-config that carries them, the serial protocol."""
