#!/bin/sh
# What udhcpc calls with the lease it has got.
# shellcheck disable=SC2154  # udhcpc gives these variables
if [ "$1" = bound ]; then
  ip addr add "$ip/$mask" dev "$interface"
  ip route add default via "$router"
fi
