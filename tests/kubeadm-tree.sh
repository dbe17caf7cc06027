#!/bin/bash
# The disk of a worker node as `kubeadm join` leaves it, with certificates that
# openssl signs now. Used by alerts.sh, page.sh and deploy.sh.
#   kubeadm-tree.sh make DIR DAYS    the kubelet's client certificate ends in DAYS days
#   kubeadm-tree.sh renew DIR DAYS   another one, put in place as the kubelet does it; DAYS may be negative
# Needs openssl. The CA's key lies beside the tree, in DIR.ca.
set -euo pipefail
action=$1 tree=$2 days=$3
ca=$tree.ca
. "$(dirname "$0")/openssl-ca.sh"

when() { date --utc --date "$1" +%Y%m%d%H%M%SZ; }

# sign NAME SUBJECT START END EXTENSIONS [CA-CERTIFICATE]
sign() {
    ca_request "$ca/$1.key" "$2"
    ca_sign "$ca/$1.crt" "$(when "$3")" "$(when "$4")" "$5" "$ca/ca.key" "${6:-}"
}

# client START: one year is what kubeadm and the controller manager sign; it ends in $days.
client() {
    local end="now + $days days" file
    sign client "/O=system:nodes/CN=system:node:node1" "$1" "$end" client "$ca/ca.crt"
    file=kubelet-client-$(date --utc +%Y-%m-%d-%H-%M-%S-%N).pem
    (umask 077 && cat "$ca/client.crt" "$ca/client.key" > "$tree/var/lib/kubelet/pki/$file")
    # client-go util/certificate/certificate_store.go updateSymlink: absolute, and renamed into place.
    ln -s "/var/lib/kubelet/pki/$file" "$tree/var/lib/kubelet/pki/kubelet-client-updated.pem"
    mv -T "$tree/var/lib/kubelet/pki/kubelet-client-updated.pem" "$tree/var/lib/kubelet/pki/kubelet-client-current.pem"
}

if [ "$action" = renew ]; then
    start="now - 5 minutes"
    [ "$days" -gt 0 ] || start="now - 366 days"
    ca_go_on "$ca"
    client "$start"
    exit
fi

mkdir -p "$ca" "$tree"/etc/{kubernetes/{pki,manifests},cni/net.d,containerd} "$tree"/var/lib/{kubelet/pki,containerd} \
    "$tree"/opt/cni/bin "$tree"/usr/lib/systemd/system/kubelet.service.d "$tree"/run
ca_begin "$ca" IP:192.0.2.1
sign ca /CN=kubernetes "now - 400 days" "now + 3250 days" authority
client "now - 363 days"
# What the API server of this node's cluster presents, for who stands in for it.
sign api-server /CN=kube-apiserver "now - 363 days" "now + 300 days" server "$ca/ca.crt"
(umask 077 && cat "$ca/api-server.crt" "$ca/api-server.key" > "$ca/api-server.pem")
cp "$ca/ca.crt" "$tree/etc/kubernetes/pki/ca.crt"

cat > "$tree/etc/kubernetes/kubelet.conf" <<END
apiVersion: v1
kind: Config
clusters:
- name: default-cluster
  cluster:
    certificate-authority-data: $(base64 -w0 "$ca/ca.crt")
    server: https://192.0.2.1:6443
contexts:
- name: default-context
  context: { cluster: default-cluster, namespace: default, user: default-auth }
current-context: default-context
users:
- name: default-auth
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
END
chmod 600 "$tree/etc/kubernetes/kubelet.conf"
cat > "$tree/var/lib/kubelet/config.yaml" <<'END'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: { enabled: false }
  webhook: { cacheTTL: 0s, enabled: true }
  x509: { clientCAFile: /etc/kubernetes/pki/ca.crt }
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
# The machine that boots it may have cgroup v1, which the kubelet refuses from 1.35 on unless told so.
failCgroupV1: false
rotateCertificates: true
staticPodPath: /etc/kubernetes/manifests
END
echo 'KUBELET_KUBEADM_ARGS=""' > "$tree/var/lib/kubelet/kubeadm-flags.env"
cat > "$tree/etc/cni/net.d/10-lab.conflist" <<'END'
{ "cniVersion": "1.0.0", "name": "lab", "plugins": [ { "type": "bridge", "bridge": "cni0",
  "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.244.0.0/24" }]] } } ] }
END
for plugin in bridge host-local loopback; do install -m 0755 /dev/null "$tree/opt/cni/bin/$plugin"; done
# The packages' unit and kubeadm's drop-in; enabled.
cat > "$tree/usr/lib/systemd/system/kubelet.service" <<'END'
[Unit]
Description=kubelet: The Kubernetes Node Agent

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
END
cat > "$tree/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf" <<'END'
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
END
printf '[Unit]\nDescription=containerd container runtime\n[Service]\nExecStart=/usr/bin/containerd\n[Install]\nWantedBy=multi-user.target\n' \
    > "$tree/usr/lib/systemd/system/containerd.service"
mkdir -p "$tree/etc/systemd/system/multi-user.target.wants"
for unit in kubelet containerd; do
    ln -s "/usr/lib/systemd/system/$unit.service" "$tree/etc/systemd/system/multi-user.target.wants/$unit.service"
done
install -D -m 0755 /dev/null "$tree/usr/bin/kubelet"
echo node1 > "$tree/etc/hostname"
echo "nameserver 192.0.2.53" > "$tree/etc/resolv.conf"
echo 0123456789abcdef0123456789abcdef > "$tree/etc/machine-id"
