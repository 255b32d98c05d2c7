#!/bin/sh
# enter.sh ROOT FOLDER… -- COMMAND…: runs a command in another root directory, in which the given folders are those of here.
# It wants a mount namespace of its own, where it changes the root: under chroot the kernel makes no user namespaces.
set -eu
here=$PWD root=$1
shift
mount --bind "$root" "$root"
cd "$root"
mount -t tmpfs tmpfs tmp
while [ "$1" != -- ]; do
  mkdir -p ".$1"
  mount --rbind "$1" ".$1"
  shift
done
shift
pivot_root . mnt
cd "$here"
umount --lazy /mnt
exec "$@"
