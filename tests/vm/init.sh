#!/bin/busybox sh
# The first process of the virtual machine of tests/vm.sh: mounts the disk, puts the tree to be tested into it, and makes
# way for systemd.
# shellcheck shell=dash

b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b insmod /virtio_blk.ko
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mount -t ext4 /dev/vda /disk
$b cp -a /erluv /disk/opt/erluv
$b cp /erluv/tests/vm/erluv-vm.service /erluv/tests/vm/erluv-vm.target /disk/etc/systemd/system/
$b umount /proc
exec $b switch_root /disk /sbin/init
