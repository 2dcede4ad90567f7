#!/bin/bash
# Puts onto the OEM partition what is to be sealed. It has its new size already, and is mounted read-only.
set -euo pipefail
mount -o remount,rw /usr/share/oem
mkdir -p /usr/share/oem/app
printf '%s\n' "$IMAGE_VERSION" > /usr/share/oem/app/version
install -m 644 app.conf /usr/share/oem/app/app.conf
mount -o remount,ro /usr/share/oem
df -h /usr/share/oem
