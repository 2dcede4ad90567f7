# What every node is to have. GKE brings the kubelet's configuration with the node's own metadata: nothing here may need a
# cloud-config, and nothing may touch /home/kubernetes or /var/lib/kubelet.
set -euo pipefail
install -d -m 755 /var/lib/node-setup
install -m 644 ca.pem /var/lib/node-setup/ca.pem
