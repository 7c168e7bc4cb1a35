# shellcheck shell=bash disable=SC2154 # root comes from scripts/lib.sh
# Debian packages for the live image, by exact version: a private apt, so that the builder's system gets neither
# a foreign architecture nor a package. Sourced by scripts/build-image and scripts/refresh-image-lock.

debian=bookworm
# another file than the committed one where the tests need packages that the archive still has
lock=$(realpath -m "${DEBLAST_LOCK:-$root/image/packages.lock}")
cache=${DEBLAST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var}/.cache}/deblast}

# without comments and empty lines
lines_of() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1"; }

# sources FOREIGN-SECURITY: this system's own Debian archives, for both architectures; where FOREIGN-SECURITY is
# no, i386 comes from the release alone
sources() {
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$debian" -v foreign="$1" '
            $3 == "main" && ($2 == release || $2 == release "-security" || $2 == release "-updates") && !seen[$1 $2]++ {
                architectures = (foreign == "yes" || $2 == release) ? "amd64,i386" : "amd64"
                print "deb [arch=" architectures "] " $1 " " $2 " " $3
            }'
}

# Makes $cache/apt, with indexes of today. The security archive's i386 index is at times not the one that its Release
# file names; then apt refuses it, rightly, and i386 comes from the point release.
private_apt() {
    local apt=$cache/apt foreign
    mkdir -p "$apt"/lists/partial "$apt"/archives/partial
    : >"$apt/status"
    cat >"$apt/apt.conf" <<END
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures { "amd64"; "i386"; };
APT::Sandbox::User "";
#clear APT::Update::Post-Invoke;
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
END
    for foreign in yes no; do
        sources "$foreign" >"$apt/sources.list"
        grep -q " $debian main" "$apt/sources.list" ||
            fail "apt knows of no archive of Debian 12 ($debian main), of whose packages the image is made: is it among apt's sources, and has apt-get update been run?"
        if in_private_apt apt-get update -qq >"$apt/update.log" 2>&1; then
            [ "$foreign" = yes ] || say "no usable i386 index in the security archive; i386 packages come from the point release"
            return
        fi
    done
    cat "$apt/update.log" >&2
    fail "apt-get update failed in the private apt ($apt)"
}

# in_private_apt COMMAND ARGUMENTS: after this system's own configuration, which may name a proxy
in_private_apt() {
    local command=$1
    shift
    "$command" --config-file "$cache/apt/apt.conf" "$@"
}

deb_of() { printf '%s/packages/%s_%s_%s.deb' "$cache" "$1" "${2//:/%3a}" "$3"; } # NAME VERSION ARCHITECTURE

sound() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; } # sound FILE SHA256

# names LIST: its packages, a kernel by its flavour alone, whose version is part of its name in the lock
names() { lines_of "$1" | awk '{ name = $1; if (name ~ /^linux-image-/) sub(/-.*-/, "-image-", name); print name }' | LC_ALL=C sort; }

gone=3 # how this ends where a version of the lock is not to be had any more, and for nothing else

# Downloads what the lock names and the cache lacks; every file is held to its digest, cached or not.
fetch_packages() {
    local name architecture version digest missing=() line file
    cmp -s <(names "$root/image/packages") <(names "$lock") ||
        fail "image/packages and image/packages.lock name other packages: run scripts/refresh-image-lock"
    mkdir -p "$cache/packages"
    while read -r name architecture version digest _; do
        sound "$(deb_of "$name" "$version" "$architecture")" "$digest" || missing+=("$name $architecture $version $digest")
    done < <(lines_of "$lock")
    [ ${#missing[@]} -gt 0 ] || return 0

    say "fetching ${#missing[@]} Debian packages into $cache"
    private_apt
    for line in "${missing[@]}"; do
        read -r name architecture version digest <<<"$line"
        [ "$architecture" != all ] || architecture=amd64
        if ! in_private_apt apt-get download -qq --print-uris "$name:$architecture=$version" >/dev/null 2>&1; then
            say "$name $version ($architecture) is not to be had from apt's sources any more: run scripts/refresh-image-lock, which takes today's versions (another image then, with another digest)"
            exit "$gone"
        fi
        (cd "$cache/packages" && in_private_apt apt-get download -qq "$name:$architecture=$version" >&2) ||
            fail "$name $version ($architecture): apt's sources have it, and the download failed, see above"
        read -r name architecture version digest <<<"$line"
        file=$(deb_of "$name" "$version" "$architecture")
        sound "$file" "$digest" || {
            rm -f "$file"
            fail "$name $version ($architecture): SHA-256 is not $digest as image/packages.lock says; the download was thrown away"
        }
    done
}

# unpack_packages TREE: each package into TREE/NAME; kernels as TREE/linux-686 and TREE/linux-amd64
unpack_packages() {
    local tree=$1 name architecture version folder
    while read -r name architecture version _; do
        folder=$name
        case $name in linux-image-*) folder=linux-${name##*-} ;; esac
        mkdir -p "$tree/$folder"
        dpkg-deb -x "$(deb_of "$name" "$version" "$architecture")" "$tree/$folder"
    done < <(lines_of "$lock")
}
