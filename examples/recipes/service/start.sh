# Run by the cloud-config of the VM at every boot: puts the unit in its place, and starts it.
set -euo pipefail
install -d /run/systemd/system
install -m 644 /var/lib/hello-app/hello-app.service /run/systemd/system
systemctl daemon-reload
# Not to wait for it: cloud-init runs this during the boot.
systemctl start --no-block hello-app.service
