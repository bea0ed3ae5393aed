# Furnishes a node from inside its new namespaces, then becomes its first process.
# usage: node.sh CLUSTER NAME PAUSE HIERARCHY...
# CLUSTER is the cluster's directory, HIERARCHY the mount options of a version 1 control group hierarchy.
set -eu
cluster=$1 name=$2 pause=$3
shift 3

mount --make-rprivate /
# From here on the cluster's directory is /mnt, whatever is mounted over the place where it lies.
mount --rbind "$cluster" /mnt
own=/mnt/nodes/$name
readlink /proc/self/ns/pid > "$own/namespace"

# A sysfs of this network namespace, and control groups whose root is the node.
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for options; do
    place=/sys/fs/cgroup/${options#none,name=}
    mkdir "$place"
    mount -t cgroup -o "$options" cgroup "$place"
done

# What the node's programs write lies on top of the machine's own directories and is seen by nobody else. Lower layers
# do not show what is mounted on them, so the places with many or large files are plain folders.
for top in etc opt var; do
    mkdir -p "$own/over/$top" "$own/work/$top"
    mount -t overlay -o "lowerdir=/$top,upperdir=$own/over/$top,workdir=$own/work/$top" overlay "/$top"
done
for folder in run tmp var/lib/containerd var/lib/kubelet var/log; do
    mkdir -p "$own/root/$folder" "/$folder"
    mount --bind "$own/root/$folder" "/$folder"
done
chmod 1777 /tmp
# Left by an earlier life of the node: a machine's /run is empty after a boot.
find /run -mindepth 1 -delete

mkdir -p /opt/cni/bin /etc/cni/net.d
for plugin in bridge host-local loopback portmap; do
    [ -e "/opt/cni/bin/$plugin" ] || cp "/usr/lib/cni/$plugin" /opt/cni/bin/
done
[ -e /etc/cni/net.d/10-pods.conflist ] || cp "$own/10-pods.conflist" /etc/cni/net.d/

echo "$name" > /proc/sys/kernel/hostname
echo "$cluster $name" | md5sum | cut -c1-32 > /etc/machine-id
# Pods with hostPath and mountPropagation see what is mounted later.
mount --make-rshared /
touch "$own/furnished"
exec "$pause" "$name"
