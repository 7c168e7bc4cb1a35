# shellcheck shell=bash disable=SC2154 # root, lock, cache come from the files that this one is sourced with
# The three parts of the initramfs: one that both kernels share (busybox, /init, deblast, ntfs-3g, keyboard maps), the
# modules of each kernel, and for PXE its network drivers. The boot loader hands the kernel several, one after another.

# kernel_version TREE FLAVOUR
kernel_version() { basename "$1/linux-$2"/lib/modules/*; }

# patterns LIST FLAVOUR: what LIST says for this kernel, `+` or `-` before each pattern
patterns() {
    lines_of "$1" | awk -v flavour="$2" '
        {
            sign = "+"
            if ($1 == "-") { sign = "-"; $1 = ""; $0 = $0; $1 = $1 }
            if ($1 ~ /:$/) { if ($1 != flavour ":") next; $1 = ""; $0 = $0; $1 = $1 }
            print sign, $1
        }'
}

# modules_of TREE FLAVOUR LIST: the listed modules and what they depend on, one path a line below lib/modules/VERSION.
# Fails, after naming all of them, where a pattern matches nothing.
modules_of() {
    local tree=$1 flavour=$2 list=$3 version modules sign pattern path nothing=() chosen=() found
    version=$(kernel_version "$tree" "$flavour")
    modules=$tree/linux-$flavour/lib/modules/$version
    declare -A taken=()
    while read -r sign pattern; do
        found=no
        for path in "$modules"/kernel/$pattern.ko; do
            [ -f "$path" ] || continue
            found=yes
            if [ "$sign" = + ]; then taken[$path]=1; else unset "taken[$path]"; fi
        done
        if [ "$found" = no ]; then
            # built into the kernel is as good as there
            [ "$sign" = + ] && grep -qxF "kernel/$pattern.ko" "$modules/modules.builtin" || nothing+=("$pattern")
        fi
    done < <(patterns "$list" "$flavour")
    [ ${#nothing[@]} -eq 0 ] || fail "$(basename "$list"): the $flavour kernel $version has none of these: ${nothing[*]}"
    for path in "${!taken[@]}"; do chosen+=("$(basename "$path" .ko)"); done
    modprobe -C /dev/null -d "$tree/linux-$flavour" -S "$version" --all --show-depends "${chosen[@]}" |
        sed -n "s|^insmod $modules/\([^ ]*\).*|\1|p" | LC_ALL=C sort -u
}

# copy_modules TREE FLAVOUR PATHS ROOT: into ROOT, every one with the signature that a locked-down kernel demands
copy_modules() {
    local tree=$1 flavour=$2 paths=$3 root_folder=$4 version from to file unsigned=()
    version=$(kernel_version "$tree" "$flavour")
    from=$tree/linux-$flavour/lib/modules/$version
    to=$root_folder/lib/modules/$version
    mkdir -p "$to"
    (cd "$from" && cpio -pdm --quiet "$to" <"$paths")
    while read -r file; do
        [ "$(tail -c 28 "$to/$file" | tr -d '\0\n')" = '~Module signature appended~' ] || unsigned+=("$file")
    done <"$paths"
    [ ${#unsigned[@]} -eq 0 ] ||
        fail "these modules of the $flavour kernel carry no signature, so a kernel under Secure Boot refuses them: ${unsigned[*]}"
}

# index_modules TREE FLAVOUR ROOT: the indexes that busybox's modprobe reads, for the modules that are in ROOT
index_modules() {
    local tree=$1 flavour=$2 root_folder=$3 version to
    version=$(kernel_version "$tree" "$flavour")
    to=$root_folder/lib/modules/$version
    cp "$tree/linux-$flavour/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$to/"
    depmod -b "$root_folder" "$version"
    # busybox reads text, and only what modules depend on and which device wants which
    rm -f "$to"/*.bin "$to"/modules.{order,builtin.modinfo,devname,softdep,symbols,builtin.alias}
}

# make_modules TREE FLAVOUR ROOT NET-ROOT: the modules, and what the network list has beyond them. The indexes in
# NET-ROOT cover both, and replace the others when it is unpacked second.
make_modules() {
    local tree=$1 flavour=$2 root_folder=$3 net_folder=$4 version all
    version=$(kernel_version "$tree" "$flavour")
    all=$root_folder.net-all
    depmod -b "$tree/linux-$flavour" "$version"
    modules_of "$tree" "$flavour" "$root/image/modules" >"$root_folder.list"
    modules_of "$tree" "$flavour" "$root/image/modules-net" | LC_ALL=C comm -13 "$root_folder.list" - >"$net_folder.list"
    copy_modules "$tree" "$flavour" "$root_folder.list" "$root_folder"
    index_modules "$tree" "$flavour" "$root_folder"
    copy_modules "$tree" "$flavour" "$net_folder.list" "$net_folder"
    LC_ALL=C sort -u "$root_folder.list" "$net_folder.list" >"$all.list"
    copy_modules "$tree" "$flavour" "$all.list" "$all"
    index_modules "$tree" "$flavour" "$all"
    cp "$all/lib/modules/$version"/modules.* "$net_folder/lib/modules/$version/"
}

# make_keymaps TREE FOLDER: each map of image/keymaps in the binary form that busybox's loadkmap takes
make_keymaps() {
    local tree=$1 folder=$2 name map maps=$1/console-data/usr/share/keymaps/i386
    mkdir -p "$folder"
    while read -r name map; do
        [ -f "$maps/$map.kmap.gz" ] || fail "image/keymaps: Debian's console-data has no map $map"
        # relative paths, because loadkeys hands them to a shell as they are; and a map that it could not read, or one that
        # such a map includes, does not make it fail: it says so and writes the kernel's own map
        (cd "$maps" && LOADKEYS_INCLUDE_PATH=include:${map%/*} "$tree/kbd/bin/loadkeys" --quiet --bkeymap --unicode "$map.kmap.gz") \
            >"$folder/$name.bmap" 2>"$folder.said" || fail "image/keymaps: loadkeys does not take $map: $(cat "$folder.said")"
        [ ! -s "$folder.said" ] || fail "image/keymaps: loadkeys says of $map: $(cat "$folder.said")"
        rm "$folder.said"
    done < <(lines_of "$root/image/keymaps")
}

# make_common TREE BINARY ROOT
make_common() {
    local tree=$1 binary=$2 folder=$3 libraries=usr/lib/i386-linux-gnu
    mkdir -p "$folder"/{bin,dev,etc,proc,run,sbin,sys,tmp,lib/i386-linux-gnu,usr/share/keymaps}
    install -m 755 "$tree/busybox-static/bin/busybox" "$folder/bin/busybox"
    ln -s busybox "$folder/bin/sh"
    ln -s ../bin/busybox "$folder/sbin/modprobe" # the kernel itself asks for modules by this path
    install -m 755 "$root/image/init" "$folder/init"
    install -m 755 "$binary" "$folder/bin/deblast"
    install -m 755 "$tree/ntfs-3g/bin/ntfs-3g" "$tree/mount/sbin/losetup" "$folder/bin/"
    install -m 755 "$tree/libc6/lib/i386-linux-gnu/ld-linux.so.2" "$folder/lib/"
    install -m 644 "$tree/libc6/lib/i386-linux-gnu/libc.so.6" "$tree/libntfs-3g89/lib/i386-linux-gnu/libntfs-3g.so.89" \
        "$tree/libsmartcols1/$libraries/libsmartcols.so.1" "$folder/lib/i386-linux-gnu/"
    make_keymaps "$tree" "$folder/usr/share/keymaps"
}

# pack ROOT OUT: the same tree gives the same bytes. zstd costs 0.9 MB more than xz in all, and saves a Pentium II in
# emulation four of its twenty seconds. The kernel holds the window in memory while it unpacks: 8 MiB (2^23), so that
# 64 MiB of RAM are enough.
pack() {
    local folder=$1 out=$2
    find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$folder" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --null --create --format=newc --owner=0:0 --reproducible --quiet) |
        zstd --quiet --single-thread --ultra -22 --long=23 >"$out"
}
