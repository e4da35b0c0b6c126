//! What runs first inside new namespaces, as text for `sh`.

use std::path::Path;

use super::plan::Plan;

/// What kubelet would write into the kernel of the whole machine, and the values it looks for. It finds them, and writes nothing.
const TUNABLES: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// The wire: a bridge without rules, to which the host and every node are plugged.
pub(crate) fn wire(plan: &Plan, bin: &Path) -> String {
    let (name, bin) = (&plan.name, quote(&bin.display().to_string()));
    format!(
        "\
set -eu
mount --make-rprivate /
hostname {name}-wire
ip link set lo up
ip link add wire type bridge
ip link set wire up
# Frames between two nodes meet the rules of those nodes, and none here.
if [ -e /proc/sys/net/bridge ]; then echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi
echo ready
exec {bin}/pause cluster {name} wire
"
    )
}

/// A node: the host's programs, and every folder that Kubernetes writes to replaced by one of the node's own.
pub(crate) fn node(plan: &Plan, node: u8, folder: &Path, kubernetes: &Path, logs: &Path, bin: &Path) -> String {
    let name = plan.node(node);
    let [folder, kubernetes, logs, bin] = [folder, kubernetes, logs, bin].map(|path| quote(&path.display().to_string()));
    let tunables: String = TUNABLES.iter().map(|(file, value)| format!("tunable {file} {value}\n")).collect();
    let hosts: String = plan.nodes().map(|node| format!("{} {}\\n", plan.node_address(node), plan.node(node))).collect();
    format!(
        "\
set -eu
mount --make-rprivate /
hostname {name}

# First what the folders below may hide.
mount -t tmpfs -o mode=0755 node /mnt
mkdir /mnt/node /mnt/kubernetes /mnt/log /mnt/bin /mnt/etc /mnt/work /mnt/tunables
mount --bind {folder} /mnt/node
mount --bind {kubernetes} /mnt/kubernetes
mount --bind {logs} /mnt/log
mount --bind {bin} /mnt/bin
mkdir -p /mnt/node/kubelet /mnt/node/containerd /mnt/node/etcd /mnt/log/pods

mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work etc /etc
rm -rf /etc/cni /etc/kubernetes /etc/containerd
mkdir -p /etc/cni/net.d /etc/kubernetes
mount --bind /mnt/kubernetes /etc/kubernetes
cp /etc/kubernetes/{name}.conflist /etc/cni/net.d/10-bridge.conflist
rm -f /etc/hosts /etc/hostname /etc/resolv.conf
printf '127.0.0.1 localhost\\n{hosts}' >/etc/hosts
echo {name} >/etc/hostname
touch /etc/resolv.conf

mount -t tmpfs -o mode=0755 run /run
mkdir -p /run/lock /run/netns /run/containerd
mount -t tmpfs -o mode=0755 opt /opt
mkdir -p /opt/cni/bin
ln -s /usr/lib/cni/* /opt/cni/bin/
mount -t tmpfs -o mode=0755 lib /var/lib
mkdir -p /var/lib/kubelet /var/lib/containerd /var/lib/etcd /var/lib/cni
for part in kubelet containerd etcd; do mount --bind /mnt/node/$part /var/lib/$part; done
mount -t tmpfs -o mode=0755 log /var/log
mkdir -p /var/log/pods /var/log/containers
mount --bind /mnt/log/pods /var/log/pods

tunable() {{
    mkdir -p /mnt/tunables/${{1%/*}}
    echo $2 >/mnt/tunables/$1
    if [ -e /proc/sys/$1 ]; then mount --bind /mnt/tunables/$1 /proc/sys/$1; fi
}}
{tunables}
# What kubelet mounts must reach the containers.
mount --make-rshared /

ip link set lo up
ip link add cni0 type bridge
ip addr add {gateway}/24 dev cni0
ip link set cni0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
# Answers from a pod to its neighbour pass through the rules that rewrote the question.
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
echo ready
exec /mnt/bin/pause cluster {name}
",
        gateway = plan.pod_gateway(node),
    )
}

/// For `sh`: one word, whatever is in it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::command;

    fn plan() -> Plan {
        Plan { name: "mesh".into(), number: 1, nodes: 2 }
    }

    fn text() -> String {
        node(&plan(), 1, Path::new("/it's/node"), Path::new("/k"), Path::new("/l"), Path::new("/b"))
    }

    #[test]
    fn scripts_are_what_a_shell_understands() {
        for script in [text(), wire(&plan(), Path::new("/b"))] {
            assert_eq!(command::program(10, "sh").arg("-n").feed(&script), Ok(String::new()));
            assert!(script.starts_with("set -eu\n") && script.contains("\necho ready\nexec "));
        }
    }

    #[test]
    fn a_node_hides_every_folder_of_the_host_that_kubernetes_writes_to() {
        let text = text();
        for hidden in ["/etc", "/run", "/opt", "/var/lib", "/var/log"] {
            assert!(text.lines().any(|line| line.starts_with("mount -t ") && line.ends_with(&format!(" {hidden}"))), "{hidden}");
        }
        assert!(text.contains(r"mount --bind '/it'\''s/node' /mnt/node"));
    }

    #[test]
    fn mounts_are_shared_only_after_the_last_of_them() {
        let text = text();
        let (before, after) = text.split_once("mount --make-rshared /").unwrap();
        assert!(before.contains("mount --make-rprivate /") && !after.contains("mount "));
    }

    #[test]
    fn a_node_knows_every_node_by_name() {
        assert!(text().contains(r"printf '127.0.0.1 localhost\n10.121.0.1 mesh-0\n10.121.0.2 mesh-1\n'"));
    }
}
