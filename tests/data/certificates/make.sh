#!/bin/bash
# Pairs of a kubelet's client certificate and the CA that signed it, in the algorithms that rcgen does not make: NAME.pem holds the
# leaf, NAME-ca.crt the CA. Valid from when it runs for 30 years. Needs openssl.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

# pair NAME KEY-OPTIONS -- SIGN-OPTIONS
pair() {
    local name=$1 key=() && shift
    while [ "$1" != -- ]; do key+=("$1"); shift; done
    shift
    openssl req -x509 -newkey "${key[@]}" -nodes -keyout "$work/ca.key" -subj /CN=kubernetes -days 10957 "$@" -out "$name-ca.crt" 2> /dev/null
    openssl req -new -newkey "${key[@]}" -nodes -keyout "$work/leaf.key" -subj /O=system:nodes/CN=system:node:node1 -out "$work/leaf.csr" 2> /dev/null
    openssl x509 -req -in "$work/leaf.csr" -CA "$name-ca.crt" -CAkey "$work/ca.key" -days 10956 "$@" -out "$name.pem" 2> /dev/null
}

pair rsa2048-sha256 rsa:2048 -- -sha256
pair rsa4096-sha512 rsa:4096 -- -sha512
pair rsa2048-sha384 rsa:2048 -- -sha384
pair rsa2048-pss rsa:2048 -- -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32
pair rsa1024-sha256 rsa:1024 -- -sha256
pair p521-sha512 ec -pkeyopt ec_paramgen_curve:P-521 -- -sha512
pair p256-sha512 ec -pkeyopt ec_paramgen_curve:P-256 -- -sha512
pair p384-sha256 ec -pkeyopt ec_paramgen_curve:P-384 -- -sha256
