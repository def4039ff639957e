#!/bin/sh
# Tries erluv as a service of systemd, in a virtual machine: Debian trixie with systemd, control groups v2 and Erlang,
# booted by qemu in software emulation, so that it needs no /dev/kvm. vm/inside.sh is what runs in it.
#
#   tests/vm.sh
#
# Needs root (for the owners of the files in the image) and Debian on amd64; installs what is missing. The machine is
# kept in erluv-vm in the cache folder of the user, or $ERLUV_TEST_VM_DIR; the programs, built afresh, are put into it at
# each start, and what it writes is thrown away. They have to run on trixie: build on trixie or an older release.
# ERLUV_TEST_VM_LOG=1 prints all that the machine says. The last line is `vm: N passed, N failed`.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/lib.sh"

# Raise it when the recipe changes: a machine of an older recipe is then made anew.
recipe=1
suite=trixie
# The most seconds from power-on to power-off. It takes one or two minutes where nobody else uses the processors.
patience=900

am_root || die "needs root, for the owners of the files in the image"
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || die "needs Debian on amd64"
need_rust
need_packages qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mke2fs:e2fsprogs cpio:cpio xz:xz-utils \
    :busybox-static

folder=${ERLUV_TEST_VM_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/erluv-vm}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d "$folder/making.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# What an administrator's machine has, as far as it counts here, and a host's name that resolves.
packages=systemd,systemd-sysv,procps,erlang-base

# Makes the root folder of the machine and, in kernel/, what belongs outside of it: the kernel and the one module that
# is needed to mount the disk.
populate() {
    mkdir "$work/kernel"
    # shellcheck disable=SC2016 # $1 is mmdebstrap's: the folder
    mmdebstrap --quiet --variant=minbase --include=$packages \
        --customize-hook='echo vm >"$1/etc/hostname"' \
        --customize-hook='printf "127.0.0.1 localhost\n127.0.1.1 vm.localdomain vm\n" >"$1/etc/hosts"' \
        --customize-hook='chroot "$1" sh -c "cd /tmp && apt-get -q download \
            \$(apt-cache depends linux-image-cloud-amd64 | sed -n \"s/.*Depends: //p\")"' \
        --customize-hook='mv "$1"/tmp/linux-image-*.deb '"$work/kernel/" \
        "$suite" "$work/root" "deb $(mirror) $suite main" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
    dpkg-deb --fsys-tarfile "$work"/kernel/*.deb | tar -x -C "$work/kernel"
    # What takes time and says nothing about erluv.
    for name in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer \
        getty@tty1.service serial-getty@ttyS0.service systemd-udevd.service systemd-udev-trigger.service \
        systemd-modules-load.service systemd-pstore.service systemd-firstboot.service; do
        ln -sf /dev/null "$work/root/etc/systemd/system/$name"
    done
    : >"$work/root/etc/machine-id"
}

make_machine() {
    mkdir "$work/machine"
    populate
    cp "$work"/kernel/boot/vmlinuz-* "$work/machine/vmlinuz"
    find "$work/kernel" -name 'virtio_blk.ko*' -exec cp {} "$work/machine" \;
    [ ! -e "$work/machine/virtio_blk.ko.xz" ] || xz -d "$work/machine/virtio_blk.ko.xz"
    [ -e "$work/machine/virtio_blk.ko" ] || die "the kernel's package has no virtio_blk.ko, or packs it in a new way"
    mke2fs -q -t ext4 -O ^has_journal -d "$work/root" "$work/machine/root.img" 600M
    echo "$recipe" >"$work/machine/recipe"
    rm -rf "$folder/machine"
    mv "$work/machine" "$folder/machine"
    rm -rf "$work/root" "$work/kernel"
}

# The first file system, in memory: busybox, the module, and the part of this tree that is installed from.
pack() {
    initrd=$work/initrd
    erluv=$initrd/erluv
    mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/proc" "$initrd/disk" "$erluv/target/release" "$erluv/tests"
    cp "$(dpkg-query -L busybox-static | grep '/bin/busybox$')" "$initrd/bin/busybox"
    cp "$top/tests/vm/init.sh" "$initrd/init"
    chmod 755 "$initrd/init"
    cp "$folder/machine/virtio_blk.ko" "$initrd"
    (cd "$top" && find etc rc.d erluv-*/*.[1578] -type f) | cpio -D "$top" --quiet -pd "$erluv"
    cp -R "$top/tests/vm" "$erluv/tests"
    cp "$1/release/erluv-main" "$1/release/erluv-child" "$erluv/target/release"
    # Owned by root, as a tree unpacked by root.
    (cd "$initrd" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/initrd.cpio"
}

# Boots the machine, from power-on to power-off; its serial line is the output. Two processors are not faster here.
# `no_timer_check`: where others need the processor, the timer comes late, and the kernel would take it for broken.
boot() {
    # `nice`: software emulation would take all that others have left. The time limit is for a machine that hangs.
    nice -n 10 timeout "$patience" qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 1 -m 768 -machine q35 \
        -display none -no-reboot -nodefaults -nic none -monitor none -serial stdio \
        -kernel "$folder/machine/vmlinuz" -initrd "$work/initrd.cpio" \
        -append "console=ttyS0 panic=-1 mitigations=off no_timer_check quiet systemd.show_status=no systemd.unit=erluv-vm.target" \
        -drive "file=$folder/machine/root.img,if=none,id=disk,format=raw,snapshot=on,cache=unsafe" \
        -device virtio-blk-pci,drive=disk -device virtio-rng-pci </dev/null 2>&1 | sed -u 's|\r||g'
}

if [ "$(cat "$folder/machine/recipe" 2>/dev/null)" != "$recipe" ]; then
    echo "making the machine, in $folder"
    make_machine
fi
cargo build --locked --release --manifest-path "$top/Cargo.toml"
pack "$(target_folder)"
echo "booting the machine"
if [ -n "${ERLUV_TEST_VM_LOG:-}" ]; then
    boot | tee "$work/console"
else
    boot | tee "$work/console" | grep --line-buffered -E '^(ok|not ok|#|vm:) ?' || true
fi
verdict=$(grep -E '^vm: [0-9]+ passed, [0-9]+ failed$' "$work/console" | tail -n 1 || true)
if [ -z "$verdict" ]; then
    tail -n 40 "$work/console" | sed 's/^/    /'
    echo "not ok the_machine_ran_to_its_end: no verdict within $patience s; above is the end of what it said"
    echo "vm: $(grep -c '^ok ' "$work/console" || true) passed, 1 failed"
    exit 1
fi
[ "${verdict##*, }" = "0 failed" ]
