# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh
# Keeps the update engine from ever being started, by an argument on every kernel line of the boot menu.
# shellcheck source=boot_disk.sh
. "$directory/steps/boot_disk.sh"
# shellcheck source=boot_menu.sh
. "$directory/steps/boot_menu.sh"

step_disable_auto_update() {
  local menu difference maskable=
  open_menu
  change_menu mask_update_engine
  [[ $maskable ]] || give_up "no kernel line of grub.cfg has the argument cros_efi: it is not that of Container-Optimized OS"
  save_menu
}

mask_update_engine() {
  mask_units update-engine.service
}
