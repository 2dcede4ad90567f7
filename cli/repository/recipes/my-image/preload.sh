# Runs as root on the builder VM, in this directory. What is below /var and /home is in the image; /etc is not.
set -euo pipefail
install -d -m 755 /var/lib/my-image
echo 'Hello, World!' > /var/lib/my-image/hello
