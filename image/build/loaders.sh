# shellcheck shell=bash disable=SC2154 # root, lock, cache come from the files that this one is sourced with
# Boot loaders. BIOS and 32-bit UEFI get a GRUB of one file, with all it needs linked in; 64-bit UEFI gets Debian's
# signed shim and GRUB as they are.

# what image/grub.cfg and image/find-medium.cfg use
grub_modules=(boot configfile cpuid echo halt iso9660 linux ls cat minicmd normal part_msdos reboot search search_fs_file serial terminal test)

# find_medium ID > the first configuration: the medium is known by its ID, not by which device looks likely
find_medium() { sed "s/@ID@/$1/" "$root/image/find-medium.cfg"; }

# boot_menu MEDIUM FILES NETWORK > grub.cfg
boot_menu() { sed -e "s|@MEDIUM@|$1|" -e "s|@FILES@|$2|" -e "s|@NETWORK@|$3|" "$root/image/grub.cfg"; }

# grub_image TREE FORMAT PREFIX CONFIG OUT MODULE...: CONFIG - for none
grub_image() {
    local tree=$1 format=$2 prefix=$3 config=$4 out=$5 from
    shift 5
    case $format in
    i386-pc*) from=$tree/grub-pc-bin/usr/lib/grub/i386-pc ;;
    i386-efi) from=$tree/grub-efi-ia32-bin/usr/lib/grub/i386-efi ;;
    esac
    [ "$config" = - ] || set -- --config "$config" "$@"
    "$tree/grub-common/usr/bin/grub-mkimage" --format "$format" --directory "$from" --prefix "$prefix" --output "$out" "$@"
}

# make_bios TREE CONFIG OUT: the El Torito image, which the stick's boot sector starts too
make_bios() {
    local tree=$1 config=$2 out=$3
    grub_image "$tree" i386-pc /boot/grub "$config" "$out.core" "${grub_modules[@]}" biosdisk
    cat "$tree/grub-pc-bin/usr/lib/grub/i386-pc/cdboot.img" "$out.core" >"$out"
    rm "$out.core"
}

# make_esp TREE CONFIG FOLDER: what the EFI system partition holds. gcdx64 is the signed GRUB that looks for its
# configuration on the device it came from. No MokManager: it enrols keys of one's own, and nothing here needs any.
make_esp() {
    local tree=$1 config=$2 folder=$3 boot=$3/EFI/BOOT
    mkdir -p "$boot" "$folder/boot/grub"
    cp "$tree/shim-signed/usr/lib/shim/shimx64.efi.signed" "$boot/BOOTX64.EFI"
    cp "$tree/grub-efi-amd64-signed/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed" "$boot/grubx64.efi"
    # Firmware of 32 bits with Secure Boot on is rare (some tablets of 2013), and Debian's signed pair is 3.9 MB more.
    grub_image "$tree" i386-efi /boot/grub "$config" "$boot/BOOTIA32.EFI" "${grub_modules[@]}" fat all_video
    cp "$config" "$folder/boot/grub/grub.cfg"
}

# make_network_loaders TREE FOLDER: the three first files of a TFTP server; each reads /grub/grub.cfg there
make_network_loaders() {
    local tree=$1 folder=$2
    grub_image "$tree" i386-pc-pxe /grub - "$folder/deblast.pxe" "${grub_modules[@]}" pxe tftp
    grub_image "$tree" i386-efi /grub - "$folder/bootia32.efi" "${grub_modules[@]}" efinet tftp all_video
    cp "$tree/shim-signed/usr/lib/shim/shimx64.efi.signed" "$folder/bootx64.efi"
    # shim asks for exactly this name beside itself
    cp "$tree/grub-efi-amd64-signed/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed" "$folder/grubx64.efi"
}
