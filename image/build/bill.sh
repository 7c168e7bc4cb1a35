# shellcheck shell=bash disable=SC2154 # root, lock, cache come from the files that this one is sourced with
# What is in the image, and under which terms: a CycloneDX bill of materials by debsbom (Debian's packages) and
# cargo-cyclonedx (the crates), and the licences as their authors wrote them.

cyclonedx=0.5.9 # of cargo-cyclonedx

# packages that only help to make the image
not_inside() { case $1 in kbd | grub-common) true ;; *) false ;; esac }

# the two tools, in a folder of their own, once
bill_tools() {
    local tools=$cache/tools wanted
    wanted=$(sha256sum "$root/image/build/requirements.txt" | cut -c1-16)
    if [ ! -x "$tools/debsbom-$wanted/bin/debsbom" ]; then
        rm -rf "$tools/debsbom-$wanted"
        python3 -m venv "$tools/debsbom-$wanted"
        "$tools/debsbom-$wanted/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
            -r "$root/image/build/requirements.txt" >&2
    fi
    if [ ! -x "$tools/cyclonedx-$cyclonedx/bin/cargo-cyclonedx" ]; then
        # unoptimised: it runs for a second, and would take minutes to compile
        "$CARGO" install --quiet --debug --locked --root "$tools/cyclonedx-$cyclonedx" "cargo-cyclonedx@$cyclonedx" >&2
    fi
    debsbom=$tools/debsbom-$wanted/bin/debsbom
    cargo_cyclonedx=$tools/cyclonedx-$cyclonedx/bin/cargo-cyclonedx
}

# make_bill WORK ID OUT
make_bill() {
    local work=$1 id=$2 out=$3 name architecture version system=$1/bill-root sources=$1/bill-sources made release=() deb
    mkdir -p "$system/var/lib/dpkg" "$sources"
    while read -r name architecture version _; do
        not_inside "$name" && continue
        deb=$(deb_of "$name" "$version" "$architecture")
        dpkg-deb -f "$deb"
        printf 'Status: install ok installed\n\n'
        mkdir -p "$system/usr/share/doc"
        cp -r "$work/licences/debian/$name" "$system/usr/share/doc/$name"
    done < <(lines_of "$lock") >"$system/var/lib/dpkg/status"

    # cargo-cyclonedx writes beside the manifest: not into the checkout
    (cd "$root" && cp -r --parents Cargo.toml Cargo.lock build.rs src fixtures/maker/Cargo.toml fixtures/maker/src "$sources/")
    (cd "$sources" && PATH=$(dirname "$(command -v "$CARGO")"):$PATH "$cargo_cyclonedx" cyclonedx -q -f json \
        --target i586-unknown-linux-gnu --spec-version 1.5 --override-filename crates)
    # not where that copy lies either; cargo writes a space in a path as %20
    sed -i -E 's|path\+file://[^"#]*/bill-sources|path+file:///deblast|g' "$sources/crates.json"
    if grep -qF "${sources##*/}" "$sources/crates.json"; then fail "the bill of materials names a folder of this machine"; fi

    release=(-t cdx --distro-version "$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)"
        --timestamp "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%S+00:00)")
    # serial numbers of the form that the standard wants, made of the medium's ID instead of by chance
    made=${id:0:8}-${id:8:4}-4${id:12:3}-8000-
    "$debsbom" generate -r "$system" --distro-arch i386 --distro-name deblast-live-packages --with-licenses --no-recommends-deps \
        "${release[@]}" --cdx-serialnumber "${made}000000000001" -o "$work/packages" 2>"$work/debsbom.log" ||
        { cat "$work/debsbom.log" >&2 && fail "debsbom could not tell what the packages are"; }
    "$debsbom" merge --distro-name deblast-live "${release[@]}" --cdx-serialnumber "${made}000000000002" \
        -o "$work/merged" "$work/packages.cdx.json" "$sources/crates.json" 2>"$work/debsbom.log" ||
        { cat "$work/debsbom.log" >&2 && fail "debsbom could not put packages and crates together"; }
    mv "$work/merged.cdx.json" "$out"
}

# gather_licences TREE FOLDER
gather_licences() {
    local tree=$1 folder=$2 name crate manifest file from
    mkdir -p "$folder"/{debian,crates,common}
    while read -r name _; do
        not_inside "$name" && continue
        from=$tree/$name/usr/share/doc/$name
        case $name in
        linux-image-*) from=$tree/linux-${name##*-}/usr/share/doc/$name ;;
        grub-pc-bin | grub-efi-ia32-bin) from=$tree/grub-common/usr/share/doc/grub-common ;; # a link to it in the package
        esac
        [ -f "$from/copyright" ] || fail "package $name says nothing of its licence"
        mkdir -p "$folder/debian/$name"
        cp "$from/copyright" "$folder/debian/$name/"
    done < <(lines_of "$lock")
    # links among them (GPL -> GPL-3) become what they point to
    cp -L "$tree/base-files/usr/share/common-licenses"/* "$folder/common/"

    "$CARGO" metadata --manifest-path "$root/Cargo.toml" --locked --format-version 1 | grep -oE '"manifest_path":"[^"]+"' |
        cut -d'"' -f4 >"$folder.manifests"
    while read -r name crate _; do
        [ "$name" != deblast ] || continue
        manifest=$(grep -F -m1 "/$name-${crate#v}/Cargo.toml" "$folder.manifests") || true
        [ -n "$manifest" ] || fail "cargo does not say where $name $crate lies"
        mkdir -p "$folder/crates/$name-${crate#v}"
        for file in "${manifest%/*}"/{LICEN[SC]E,COPYING,COPYRIGHT,UNLICENSE,NOTICE,licen[sc]e}*; do
            [ ! -f "$file" ] || cp "$file" "$folder/crates/$name-${crate#v}/"
        done
        # what the author declares stands in the manifest, and some crates have nothing but that
        grep -E '^(license|license-file|authors|repository) *=' "$manifest" >"$folder/crates/$name-${crate#v}/DECLARED" ||
            fail "the manifest of $name $crate declares no licence: $manifest"
    done < <("$CARGO" tree --manifest-path "$root/Cargo.toml" --locked -e normal --target i586-unknown-linux-gnu --prefix none --format '{p}' | sort -u)
    find "$folder" -type f -exec chmod 644 {} +
}

# list_sources > where the source of each Debian package in the image is to be had
list_sources() {
    cat <<'END'
SOURCES

Deblast is free software under the GNU General Public License, version 3 or
later; its source comes from where this image came from.

The other programs in this image are Debian's packages, unaltered. Their
sources are Debian's source packages of exactly these versions; with deb-src
lines among apt's sources, `apt-get source NAME=VERSION` fetches one, and
Debian's snapshot archive keeps every version there ever was.

END
    while read -r name _ version _ _ source source_version used; do
        not_inside "$name" && continue
        printf '%s %s\n' "$source" "$source_version"
        [ "$used" = - ] || tr ',' '\n' <<<"$used" | sed 's/^\([^(]*\)(=\(.*\))$/\1 \2/'
    done < <(lines_of "$lock") | sort -u
}
