#!/usr/bin/env bash
# Brings an image that nothing of this project has made through all that one does with one: imports it, boots it by UEFI,
# customizes it, exports the result, and boots the export by plain QEMU. Without KVM it takes some five minutes.
#   try_image.sh [DISK]    a disk for UEFI with cloud-init, .raw, .qcow2 or .tar.gz; by default a Debian is made
# To make the Debian: mmdebstrap. To boot: ovmf.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "${VENV:-.venv}/bin" && pwd)
work=$(mktemp -d)
export PATH=$bin:$PATH no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
leave() {
  cos-customizer emulator stop "-state-dir=$work/state" 2> /dev/null || true
  rm -rf "$work"
}
trap leave EXIT

disk=${1:-}
if [[ -z $disk ]]; then
  disk=$work/debian.raw
  time bash tests/support/foreign_image.sh "$disk"
fi
cos-customizer emulator start "-state-dir=$work/state" > "$work/environment"
# shellcheck disable=SC1091
source "$work/environment"

printf '\n--- import\n'
time cos-customizer emulator import-image "$disk" foreign -guest-os-features=UEFI_COMPATIBLE
printf '\n--- boot\n'
time cos-customizer emulator boot foreign -- sh -c 'test -d /sys/firmware/efi && grep PRETTY /etc/os-release && efibootmgr'

printf '\n--- customize\n'
mkdir "$work/context"
# shellcheck disable=SC2016
printf 'echo customized on "$(uname -r)" > /var/lib/customized\nsystemctl enable said.service\n' > "$work/context/script.sh"
cat > "$work/context/unit.sh" << 'END'
cat > /etc/systemd/system/said.service << 'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "export: $(cat /var/lib/customized)" > /dev/ttyS0; poweroff'
[Install]
WantedBy=multi-user.target
UNIT
END
cat > "$work/recipe.yaml" << 'END'
source: {project: my-project, name: foreign}
context: {path: context}
scratch: {bucket: my-project_cloudbuild, workdir: foreign}
steps:
- script: unit.sh
- script: script.sh
builder: {project: my-project, zones: [us-west1-b]}
output: {project: my-project, name: foreign-customized}
END
time cos-customizer build "-recipe=$work/recipe.yaml"

printf '\n--- export, and boot by plain QEMU\n'
time cos-customizer emulator export-image foreign-customized "$work/export.tar.gz"
tar -tvzf "$work/export.tar.gz"
tar -C "$work" -Sxzf "$work/export.tar.gz"
cp /usr/share/OVMF/OVMF_VARS_4M.fd "$work/variables"
time timeout 300 qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 1024 -display none -no-reboot -nic user,model=virtio-net-pci,restrict=on \
  -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
  -drive "if=pflash,format=raw,file=$work/variables" \
  -drive "if=virtio,format=raw,file=$work/disk.raw" -serial stdio < /dev/null | tee "$work/console" | tr -d '\r' | tail -5
grep -a 'export: customized on' "$work/console"
