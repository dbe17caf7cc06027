#!/bin/bash
# Makes the certificates of the fixture nodes anew, with openssl, around their time of 2026-12-01T03:12:44Z. They are signed by the
# throw-away CA whose key lies in tests/data/trees/kubeadm-control-plane-healthy.tar.gz, which both healthy nodes trust.
# No report shows a key or a serial number, so that the goldens stay as they are.
set -euo pipefail
cd "$(dirname "$0")"
. ../openssl-ca.sh
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
tar xzf ../data/trees/kubeadm-control-plane-healthy.tar.gz -C "$work"
tree=$work/etc/kubernetes
ca_begin "$work" DNS:node1,IP:192.0.2.11

# issue OUT SUBJECT FROM TO EXTENSIONS [CA-CRT CA-KEY]: a certificate and its key in one file, as the kubelet keeps them.
issue() {
    ca_request "$work/key" "$2"
    ca_sign "$work/crt" "$3" "$4" "$5" "${7:-$tree/pki/ca.key}" "${6:-$tree/pki/ca.crt}"
    mkdir -p "$(dirname "$1")"
    # A key is rewritten in the form of RFC 5915, as Go writes it.
    { cat "$work/crt"; openssl ec -in "$work/key" 2> /dev/null; } > "$1"
}

# authority NAME SUBJECT FROM TO: another CA, in $work/NAME.crt and .key
authority() {
    ca_request "$work/$1.key" "$2"
    ca_sign "$work/$1.crt" "$3" "$4" authority "$work/$1.key"
}

# again OUT OLD KEY CA FROM TO: the same certificate with another life, for the same key.
again() {
    ca_request_again "$2" "$3"
    mkdir -p "$(dirname "$1")"
    ca_sign "$1" "$5" "$6" reissue "$tree/pki/$4.key" "$tree/pki/$4.crt"
}

# inline OUT OLD FROM TO: the same kubeconfig, its client certificate with another life.
inline() {
    mkdir -p "$(dirname "$1")"
    sed -n 's/.*client-certificate-data: //p' "$2" | base64 -d > "$work/old"
    sed -n 's/.*client-key-data: //p' "$2" | base64 -d > "$work/oldkey"
    again "$work/new" "$work/old" "$work/oldkey" ca "$3" "$4"
    sed "s/client-certificate-data: .*/client-certificate-data: $(base64 -w0 < "$work/new")/" "$2" > "$1"
}

node=/O=system:nodes/CN=system:node:node1
pki=root/var/lib/kubelet/pki
year=20261123181000Z

issue worker-client-certificate-expired/$pki/kubelet-client-2025-12-01-00-10-03.pem $node 20251201000503Z 20261201001003Z client
issue worker-client-certificate-not-rotated/$pki/kubelet-client-2025-12-16-00-00-00.pem $node 20251216000000Z 20261216000000Z client
issue worker-client-certificate-in-time/$pki/kubelet-client-2026-11-02-00-00-00.pem $node 20261102000000Z 20261202060000Z client
issue worker-client-certificate-wrong-group/$pki/kubelet-client-2026-11-23-18-10-00.pem /CN=system:node:node1 $year 20271123181000Z client
issue worker-client-certificate-of-another-node/$pki/kubelet-client-2026-11-23-18-10-00.pem /O=system:nodes/CN=system:node:node2 $year 20271123181000Z client

authority other /CN=other-cluster 20261123180000Z 20361120180000Z
issue worker-client-certificate-of-another-ca/$pki/kubelet-client-2026-11-23-18-10-00.pem $node $year 20271123181000Z client "$work/other.crt" "$work/other.key"

# The CA was made anew under its old name; this node's kubelet still has a certificate of the old one.
authority renewed /CN=kubernetes 20261130180000Z 20361127180000Z
mkdir -p worker-ca-replaced/root/etc/kubernetes/pki worker-ca-rotation/root/etc/kubernetes/pki
cp "$work/renewed.crt" worker-ca-replaced/root/etc/kubernetes/pki/ca.crt
# In the middle of a rotation both are trusted, even if the old one has ended.
authority ended /CN=kubernetes 20161123180000Z 20261120180000Z
cat "$work/ended.crt" "$work/renewed.crt" "$tree/pki/ca.crt" > worker-ca-rotation/root/etc/kubernetes/pki/ca.crt

# serverTLSBootstrap: the kubelet serves the rotated one, and the self-signed one of its first start has ended long ago.
issue worker-stale-serving-certificate/$pki/kubelet-server-2026-11-23-18-12-41.pem $node $year 20271123181000Z server
authority thrown-away /CN=node1-ca@1700000000 20231114210000Z 20241114210000Z
issue "$work/stale" /CN=node1@1700000000 20231114210000Z 20241114210000Z server "$work/thrown-away.crt" "$work/thrown-away.key"
openssl x509 -in "$work/stale" -out worker-stale-serving-certificate/$pki/kubelet.crt
openssl ec -in "$work/stale" -out worker-stale-serving-certificate/$pki/kubelet.key 2> /dev/null

issue worker-client-certificate-wrong-usage/$pki/kubelet-client-2026-11-23-18-10-00.pem $node $year 20271123181000Z server
mkdir -p worker-client-key-mismatch/$pki worker-ca-ending/root/etc/kubernetes/pki
issue "$work/one" $node $year 20271123181000Z client
issue "$work/two" $node $year 20271123181000Z client
{ openssl x509 -in "$work/one"; openssl ec -in "$work/two" 2> /dev/null; } > worker-client-key-mismatch/$pki/kubelet-client-2026-11-23-18-10-00.pem

# The CA, signed again with its own key, and ending before what it signed.
ca_request_again "$tree/pki/ca.crt" "$tree/pki/ca.key"
ca_sign worker-ca-ending/root/etc/kubernetes/pki/ca.crt 20170601000000Z 20270601000000Z reissue "$tree/pki/ca.key"

# A truncated copy of a good certificate.
mkdir -p worker-client-certificate-truncated/$pki
issue "$work/whole" $node $year 20271123181000Z client
head -c 500 "$work/whole" > worker-client-certificate-truncated/$pki/kubelet-client-2026-11-23-18-10-00.pem

# A control-plane node whose kubelet.conf was never pointed to the rotated certificate.
inline control-plane-kubelet-conf-expired/root/etc/kubernetes/kubelet.conf "$tree/kubelet.conf" 20251201000503Z 20261201001003Z
inline control-plane-kubelet-conf-stale/root/etc/kubernetes/kubelet.conf "$tree/kubelet.conf" 20260601000000Z 20270601000000Z

# Nobody renewed anything for a year.
everything=control-plane-everything-expired/root/etc/kubernetes
for name in kubelet admin super-admin controller-manager scheduler; do
    inline "$everything/$name.conf" "$tree/$name.conf" 20251201000503Z 20261201001003Z
done
for file in apiserver:ca apiserver-kubelet-client:ca front-proxy-client:front-proxy-ca apiserver-etcd-client:etcd/ca etcd/server:etcd/ca etcd/peer:etcd/ca \
    etcd/healthcheck-client:etcd/ca; do
    again "$everything/pki/${file%:*}.crt" "$tree/pki/${file%:*}.crt" "$tree/pki/${file%:*}.key" "${file#*:}" 20251201000453Z 20261201000953Z
done
again control-plane-apiserver-certificate-expiring/root/etc/kubernetes/pki/apiserver.crt "$tree/pki/apiserver.crt" "$tree/pki/apiserver.key" ca \
    20251206000000Z 20261206000000Z
again control-plane-front-proxy-certificate-expiring/root/etc/kubernetes/pki/front-proxy-client.crt "$tree/pki/front-proxy-client.crt" \
    "$tree/pki/front-proxy-client.key" front-proxy-ca 20251221000000Z 20261221000000Z
