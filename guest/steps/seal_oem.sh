# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Seals OEM: makes a hash tree of its file system, behind it, and puts its root into every kernel line that has dm-verity.
# At boot the kernel makes /dev/dm-1 of the partition, which refuses to read what is not as it was.
# shellcheck source=boot_disk.sh
. "$directory/steps/boot_disk.sh"
# shellcheck source=boot_menu.sh
. "$directory/steps/boot_menu.sh"

step_seal_oem() {
  local partition oem uuid salt hash
  find_partition 8 OEM || give_up "the boot disk has no partition 8 named OEM: this is not Container-Optimized OS"
  oem=$partition
  if is_held "$oem"; then # by dm-verity, which alone can read it then: nothing has changed since
    printf '%s: OEM is sealed: the kernel has set it up so at boot\n' "$kind"
    return
  fi
  uuid=$(blkid -p -s PART_ENTRY_UUID -o value "$oem")
  [[ $uuid =~ ^[0-9A-Fa-f-]{36}$ ]] || give_up "blkid does not know the PARTUUID of $oem"
  set_apart "$oem"
  printf '%s: making the hash tree of %s MiB\n' "$kind" $((oem_blocks / 256))
  salt=$(od -An -v -tx1 -N32 /dev/urandom)
  salt=${salt//[[:space:]]/}
  hash=$(make_tree "$oem" "$salt") || give_up "${hash:-the hash tree could not be made}"
  [[ $hash =~ ^[0-9a-f]{64}$ ]] || give_up "the hash tree has no root: $hash"
  printf '%s: %s blocks, root hash %s, salt %s\n' "$kind" "$oem_blocks" "$hash" "$salt"
  seal_menu
}

# seal_menu: with `uuid`, `hash` and `salt`.
seal_menu() {
  local menu difference maskable='' sealed=0
  open_menu
  change_menu seal_line
  ((sealed > 0)) || give_up "no kernel line of grub.cfg has dm= or dm-mod.create=: the image has no verified root file system"
  [[ $maskable ]] || give_up "no kernel line of grub.cfg has the argument cros_efi: it is not that of Container-Optimized OS"
  save_menu
}

# set_apart <device>: unmounts it, and makes sure that its file system is whole and ends where the tree is to begin. What
# was deleted in it is to be in no image: that is given back now, for later nothing may be written.
set_apart() {
  local mounts mount_options point said size
  find_mounts "$1"
  for point in "${mounts[@]}"; do
    said=$(umount -- "$point" 2>&1) || give_up "OEM cannot be unmounted: $said"
  done
  said=$(e2fsck -fp -E discard "$1" 2>&1) || (($? == 1)) || give_up "e2fsck of OEM: $said"
  find_file_system_size "$1" || give_up "OEM has no file system of the kind ext4"
  ((size <= oem_blocks * 4096)) || give_up \
    "the file system of OEM has $size bytes; sealed it can have $((oem_blocks * 4096)), the hash tree comes behind them"
}

# make_tree <device> <salt>: prints the root hash, or what is wrong. /run may be mounted noexec: the tool runs elsewhere.
make_tree() {
  local place=$directory/exec digest
  mkdir -p "$place" && mount -t tmpfs -o mode=0700,nosuid,nodev,exec,size=1m tmpfs "$place" || return
  trap 'umount "$directory/exec"' EXIT
  cp "$directory/tools/verity_tree" "$place/verity_tree" && chmod 0500 "$place/verity_tree" || return
  read -r digest _ < <(sha256sum "$place/verity_tree")
  if [[ $digest != "$verity_tree_sha256" ]]; then
    echo "the program that makes the hash tree has SHA-256 $digest, not $verity_tree_sha256"
    return 1
  fi
  "$place/verity_tree" "$1" "$oem_blocks" "$2" 2>&1
}

# seal_line: puts the partition into the verity argument of a kernel line, if it has one, in the place of one of an earlier
# seal; and masks what would mount it unsealed, or bring a menu that knows nothing of it.
seal_line() {
  local at name argument begin value end sectors=$((oem_blocks * 8))
  mask_units usr-share-oem.mount update-engine.service
  for at in "${!words[@]}"; do
    understand "${words[at]}"
    [[ $name == dm || $name == dm_mod.create ]] || continue
    [[ ${words[at]} =~ ^([\"\']?[^\"\'=]*=[\"\']?)([^\"\']*)([\"\']?)$ ]] ||
      give_up "line $number of grub.cfg has quotation marks in an unknown way: ${words[at]}"
    begin=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]} end=${BASH_REMATCH[3]}
    [[ $value =~ [^[:space:]] ]] || continue
    if [[ $name == dm ]]; then
      add_counted_entry "oemroot none ro 1, 0 $sectors verity payload=PARTUUID=$uuid hashtree=PARTUUID=$uuid" \
        "hashstart=$sectors alg=sha256 root_hexdigest=$hash salt=$salt"
    else
      add_entry "oemroot,,,ro,0 $sectors verity 0 PARTUUID=$uuid PARTUUID=$uuid 4096 4096 $oem_blocks $oem_blocks" \
        "sha256 $hash $salt"
    fi
    words[at]=$begin$value$end
    changed=1 sealed=$((sealed + 1))
  done
}

# add_entry <entry>…: to `value`, the value of dm-mod.create=. Documentation/admin-guide/device-mapper/dm-init.rst:
# devices stand between semicolons, and begin with their name.
add_entry() {
  local entry entries new=
  IFS=';' read -ra entries <<<"$value"
  for entry in "${entries[@]}"; do
    [[ ! $entry =~ [^[:space:]] || $entry =~ ^[[:space:]]*oemroot[[:space:]]*, ]] || new+="$entry;"
  done
  value=$new$*
}

# add_counted_entry <entry>…: to `value`, the value of dm=, as Chrome OS's kernels knew it before: how many devices there
# are; of each its name, UUID, mode and number of targets; and behind commas the targets.
add_counted_entry() {
  local fields at=0 end text new=() IFS=,
  [[ $value =~ ^[[:space:]]*[0-9]+[[:space:]]+(.*)$ ]] || give_up "$(unknown_form)"
  read -ra fields <<<"${BASH_REMATCH[1]}"
  while ((at < ${#fields[@]})); do
    [[ ${fields[at]} =~ ^[[:space:]]*([^[:space:]]+)[[:space:]].*[[:space:]]([0-9]{1,3})[[:space:]]*$ ]] ||
      give_up "$(unknown_form)"
    end=$((at + 1 + 10#${BASH_REMATCH[2]}))
    ((end <= ${#fields[@]})) || give_up "$(unknown_form)"
    text="${fields[*]:at:end-at}"
    [[ ${BASH_REMATCH[1]} == oemroot ]] || new+=("$text")
    at=$end
  done
  IFS=' '
  new+=("$*")
  IFS=,
  value="${#new[@]} ${new[*]}"
}

unknown_form() {
  printf 'line %s of grub.cfg has dm= in an unknown form: %s' "$number" "$value"
}
