#!/usr/bin/env bash
# An aarch64 userland to try the edge in, under qemu's user emulation: no container, no board.
#
#   tools/arm_userland.sh WHEEL [FOLDER]
#
# FOLDER (default build/arm) is a cache. It gets
#   root                               Debian bookworm, arm64: Python 3.11, libstdc++ and no more
#   root-cortex-a72, root-cortex-a76   the same with what the kernel says of that core
#   site                               WHEEL and what it depends on, nothing else
#   python-cortex-a72, -a76            run Python there: build/arm/python-cortex-a76 -m winnow_edge.cli
# Emulated times say nothing about a board; emulated results do.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
wheel=$(realpath "${1:?usage: tools/arm_userland.sh WHEEL [FOLDER]}")
folder=$(realpath -m "${2:-$here/build/arm}")
suite=bookworm
recipe=3 # count up when what is made below changes

fail() { echo "arm_userland: $*" >&2; exit 1; }

need=()
command -v qemu-aarch64-static >/dev/null || need+=(qemu-user-static)
command -v mmdebstrap >/dev/null || need+=(mmdebstrap)
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || need+=(debian-archive-keyring)
if [ ${#need[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || fail "needs ${need[*]}, and there is no apt-get to install them with"
    [ "$(id -u)" = 0 ] || fail "needs ${need[*]}; do: sudo apt-get install ${need[*]}"
    echo "arm_userland: installing ${need[*]}" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${need[@]}"; } \
        >/tmp/arm_userland.$$ 2>&1 || fail "apt-get install ${need[*]} failed: $(grep -m1 '^E:' /tmp/arm_userland.$$)"
    rm -f /tmp/arm_userland.$$
fi
uv=$here/.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || fail "needs uv; do: make test (which sets up .venv) or pip install uv"

mkdir -p "$folder"
exec 9>"$folder/.lock"
flock 9

# What the kernel of a board would say. LiteRT reads it to choose its kernels and, under qemu 7.2,
# crashes without one. Features are those of the core, as Linux names them.
cpuinfo() { # part, features
    local n
    for n in 0 1 2 3; do
        printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: %s\n' "$n" "$2"
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: %s\nCPU revision\t: 3\n\n' "$1"
    done
}

if [ "$(cat "$folder/.made" 2>/dev/null)" != "$suite $recipe" ]; then
    echo "arm_userland: making an arm64 userland in $folder (once)" >&2
    rm -rf "$folder"/root* "$folder/.made"
    # --variant=extract unpacks and runs no maintainer script, so nothing of it is executed here.
    mode=root
    [ "$(id -u)" = 0 ] || mode=unshare
    mmdebstrap --quiet --mode=$mode --skip=check/qemu --arch=arm64 --variant=extract \
        --include=python3,libstdc++6,libgcc-s1 $suite "$folder/root.part" >"$folder/mmdebstrap.log" 2>&1 \
        || fail "mmdebstrap failed: $(grep -m1 '^E:' "$folder/mmdebstrap.log" || tail -n1 "$folder/mmdebstrap.log")"
    rm -rf "$folder/root.part"/{boot,home,media,srv,var,usr/share/{doc,locale,man,zoneinfo}}
    mv "$folder/root.part" "$folder/root"
    for core in cortex-a72 cortex-a76; do
        mkdir -p "$folder/root-$core/proc"
        # Only what the loader wants: qemu looks up every path here first, and a link in the place of
        # /tmp would lead programs that follow links by hand (SQLite) astray.
        ln -s ../root/usr ../root/lib "$folder/root-$core/"
    done
    cpuinfo 0xd08 "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid" \
        >"$folder/root-cortex-a72/proc/cpuinfo"
    cpuinfo 0xd0b "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp" \
        >"$folder/root-cortex-a76/proc/cpuinfo"
    echo "$suite $recipe" >"$folder/.made"
fi

digest=$(cat "$wheel" "$here/constraints.txt" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$folder/site/.made" 2>/dev/null)" != "$digest" ]; then
    rm -rf "$folder/site" "$folder/site.part"
    "$uv" pip install --quiet --target "$folder/site.part" --python-version 3.11 \
        --python-platform aarch64-manylinux_2_36 --only-binary :all: \
        -c "$here/constraints.txt" "$wheel" || fail "the wheel does not install for aarch64"
    echo "$digest" >"$folder/site.part/.made"
    mv "$folder/site.part" "$folder/site"
fi

for core in cortex-a72 cortex-a76; do
    # qemu 7.2's `-cpu max` computes wrong results: name a core.
    cat >"$folder/python-$core" <<EOF
#!/bin/sh
unset PYTHONDONTWRITEBYTECODE # compiled modules are kept: compiling them takes seconds here
export PYTHONPATH='$folder/site' PYTHONNOUSERSITE=1
exec qemu-aarch64-static -cpu $core -L '$folder/root-$core' '$folder/root/usr/bin/python3.11' "\$@"
EOF
    chmod +x "$folder/python-$core"
done
