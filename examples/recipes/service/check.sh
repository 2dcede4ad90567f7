# On a VM that has booted from the image: what its cloud-config does, and whether the service then works.
set -euo pipefail
bash /var/lib/hello-app/start.sh
for _ in {1..60}; do
  [[ ! -s /run/hello-app/greeting ]] || break
  sleep 1
done
systemctl is-active hello-app.service
grep 'Hello from the image' /run/hello-app/greeting
