#!/bin/bash
# Runs on a VM of the new image, before anybody gets it.
set -euo pipefail
mkdir -p /tmp/oem
mount -t ext4 -o ro /dev/dm-1 /tmp/oem
grep -q 8080 /tmp/oem/app/app.conf
echo "version $(< /tmp/oem/app/version)"
read -r blocks size < <(stat -f -c '%b %S' /tmp/oem)
((blocks * size >> 20 > 400))
if mount -o remount,rw /tmp/oem 2> /dev/null; then
  echo "the sealed partition can be written to" >&2
  exit 1
fi
umount /tmp/oem
[[ $(systemctl is-enabled update-engine.service || true) == masked* ]]
