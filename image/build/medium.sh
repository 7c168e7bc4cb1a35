# shellcheck shell=bash disable=SC2154 # root, lock, cache come from the files that this one is sourced with
# FAT images and the ISO that holds them: a CD image that is a bootable stick as well when it is written to one.

# fill_fat IMAGE FOLDER: copies in sorted order, so that the same folder makes the same bytes
fill_fat() {
    local image=$1 folder=$2 path
    find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    while read -r -d '' path; do
        if [ -d "$folder/$path" ]; then
            mmd -i "$image" "::/$path"
        else
            mcopy -m -i "$image" "$folder/$path" "::/$path"
        fi
    done < <(cd "$folder" && find . -mindepth 1 -printf '%P\0' | LC_ALL=C sort -z)
}

# make_esp_image FOLDER OUT: as small as it may be. Clusters of one sector, since with larger ones so small a file
# system would be FAT12, which UEFI need not read on a disk.
make_esp_image() {
    local folder=$1 out=$2 sectors
    sectors=$(($(find "$folder" -type f -printf '%s\n' | awk '{ sum += int(($1 + 511) / 512) } END { print sum }') + 160))
    # 2 bytes of each of two file allocation tables a cluster
    sectors=$(((sectors + 4 * sectors / 512 + 63) / 64 * 64))
    [ "$sectors" -ge 4352 ] || sectors=4352
    rm -f "$out"
    truncate -s $((sectors * 512)) "$out"
    mformat -i "$out" -T "$sectors" -h 64 -s 32 -c 1 -N 20030811 -v ESP ::
    fill_fat "$out" "$folder"
}

# make_deblast_image FOLDER MEGABYTES OUT: FAT16 up to 512 MB, FAT32 beyond, with clusters of a size that both Windows
# and the standard expect of it
make_deblast_image() {
    local folder=$1 megabytes=$2 out=$3 format
    if [ "$megabytes" -le 128 ]; then format='-c 4'
    elif [ "$megabytes" -le 256 ]; then format='-c 8'
    elif [ "$megabytes" -le 512 ]; then format='-c 16'
    else format='-F -c 8'; fi
    rm -f "$out"
    truncate -s "${megabytes}M" "$out"
    # shellcheck disable=SC2086 # words
    mformat -i "$out" -T $((megabytes * 2048)) -h 64 -s 32 $format -N 19800811 -v DEBLAST ::
    fill_fat "$out" "$folder"
}

# make_iso TREE ID FOLDER ESP DEBLAST OUT: DEBLAST is the first partition, because Windows before 10 shows only the
# first of a removable stick; empty for none. The ISO itself is the whole disk.
make_iso() {
    local tree=$1 id=$2 folder=$3 esp=$4 deblast=$5 out=$6 stamp partitions=()
    stamp=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)
    [ -z "$deblast" ] || partitions+=(-append_partition 1 0x0c "$deblast")
    partitions+=(-append_partition 2 0xef "$esp")
    find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    xorriso -as mkisofs -quiet -r -J -V DEBLAST_LIVE -volset "DEBLAST $id" -o "$out" \
        --modification-date="$stamp" --set_all_file_dates "$stamp" \
        --grub2-mbr "$tree/grub-pc-bin/usr/lib/grub/i386-pc/boot_hybrid.img" --mbr-force-bootable "${partitions[@]}" \
        -c boot/boot.cat -b boot/grub/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info \
        -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot "$folder" 2>"$out.log" ||
        { cat "$out.log" >&2 && fail "xorriso could not make the ISO"; }
    # the disk signature in the MBR: Windows writes one where there is none, and the stick would no longer be the image
    # shellcheck disable=SC2001,SC2059 # the bytes are the format
    printf "$(sed 's/../\\x&/g' <<<"${id:0:8}")" | dd of="$out" bs=1 seek=440 conv=notrunc status=none
}
