# Run by the cloud-config of the VM at every boot.
set -euo pipefail
sysctl --load=/var/lib/harden/sysctl.conf
