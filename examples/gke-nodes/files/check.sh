# On a VM that has booted from the image: it is no node of a cluster, so only the image itself can be looked at.
set -euo pipefail
cmp ca.pem /var/lib/node-setup/ca.pem
grep -qw spec_rstack_overflow=off /proc/cmdline
[[ ! -e /var/lib/kubelet/pki ]] # of no node that this disk has been
