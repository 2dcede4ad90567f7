# On a VM that has booted from the image: its kernel's arguments, and the settings once they are applied.
set -euo pipefail
for argument in slab_nomerge init_on_alloc=1 init_on_free=1 page_alloc.shuffle=1; do
  grep -qw -- "$argument" /proc/cmdline || { echo "the kernel was booted without $argument" && exit 1; }
done
bash /var/lib/harden/apply.sh
while read -r name _ value; do
  [[ $(sysctl --values "$name") == "$value" ]] || { echo "$name is not $value" && exit 1; }
done </var/lib/harden/sysctl.conf
[[ ! $(find /home -name authorized_keys) ]] || { echo "there are SSH keys in the image" && exit 1; }
