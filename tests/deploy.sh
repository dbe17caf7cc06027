#!/bin/bash
# What ships besides the binary: manifests, unit, Debian package, image; package
# and image run on a lab node (tests/lab).
#   tests/deploy.sh [BINARY]   linked statically; default: it is built, unoptimized
# Debian as root: installs what it needs; a virtualenv is kept in ~/.cache/nodetriage.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(binutils buildah curl dpkg-dev jq libcap2-bin lintian openssl python3-venv runc systemd util-linux)
command -v kubectl >/dev/null || packages+=(kubernetes-client)
if ! dpkg-query -W "${packages[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
venv=${XDG_CACHE_HOME:-$HOME/.cache}/nodetriage/kubernetes-validate-1.37.0
if ! [ -x "$venv/bin/kubernetes-validate" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check kubernetes-validate==1.37.0
fi

NODETRIAGE_LAB=$(tests/lab/prepare trixie)
export NODETRIAGE_LAB
lab=deploy-$$
node=$NODETRIAGE_LAB/nodes/$lab
work=$(mktemp -d)
finish() {
    tests/lab/down "$lab"
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "deploy.sh: $*" >&2; exit 1; }
in_node() { tests/lab/in "$lab" "$@"; }
# until_true SECONDS WHAT COMMAND...
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "not within its time: $what"
        sleep 0.1
    done
}

if [ $# = 0 ]; then
    cargo rustc --quiet --bin nodetriage -- -C target-feature=+crt-static
    cp target/debug/nodetriage "$work/nodetriage"
    # target/debug is left as `cargo build` leaves it.
    cargo build --quiet --bin nodetriage
    set -- "$work/nodetriage"
fi
binary=$(realpath "$1")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

manifests() {
    kubectl kustomize deploy > "$work/manifests.yaml"
    "$venv/bin/kubernetes-validate" --strict --quiet "$work/manifests.yaml"
    # The validator does validate.
    sed 's/readOnlyRootFilesystem/readOnlyRootFileSystem/' "$work/manifests.yaml" > "$work/typo.yaml"
    ! "$venv/bin/kubernetes-validate" --strict --quiet "$work/typo.yaml" >/dev/null 2>&1 || fail "a misspelt field is accepted"

    "$venv/bin/python" -c 'import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)' \
        < "$work/manifests.yaml" > "$work/manifests.json"
    # promised FILTER: of the pod, as the API server gets it.
    promised() { jq -e '.[] | select(.kind == "DaemonSet") | .spec.template.spec | '"$1" "$work/manifests.json" >/dev/null || fail "not so: $1"; }
    promised '.containers[0].securityContext.capabilities == {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}'
    promised '.containers[0].securityContext | .readOnlyRootFilesystem and .runAsNonRoot and (.allowPrivilegeEscalation | not) and .seccompProfile.type == "RuntimeDefault"'
    promised '(.hostPID // .hostIPC // false) | not'
    promised '.automountServiceAccountToken == false'
    promised '[.containers[0].volumeMounts[] | select(.name != "state") | .readOnly] | all'
    # A hostPath of another type is created on the node, or keeps the pod from starting.
    promised '[.volumes[] | select(.name == "state") | has("emptyDir")] == [true]'
    promised '[.volumes[] | select(.name != "state") | .hostPath == {path: "/lib/modules"} or .hostPath.type == "Directory" and (.hostPath.path | IN("/etc", "/usr", "/lib/systemd", "/opt", "/proc", "/sys/fs", "/var", "/run"))] | all'
    promised '.containers[0].image | endswith(":'"$version"'")'
    echo "ok: manifests"
}

unit() {
    systemd-analyze security --offline=true --threshold=15 --no-pager systemd/nodetriage.service > "$work/security" ||
        { cat "$work/security"; fail "the unit is exposed more than 1.5"; }
    # verify wants the program to be where the unit says.
    mkdir -p "$work/unit"
    sed "s#^ExecStart=/usr/bin/nodetriage#ExecStart=$binary#" systemd/nodetriage.service > "$work/unit/nodetriage.service"
    systemd-analyze verify --man=no "$work/unit/nodetriage.service" 2> "$work/verify"
    ! grep nodetriage "$work/verify" || fail "systemd-analyze verify has something to say"
    echo "ok: unit, $(tail -n 1 "$work/security" | grep -o 'level.*: [0-9.]*')"
}

# Installed by dpkg on a lab node, whose systemd then runs it.
debian_package() {
    local deb
    deb=$(packaging/deb "$binary" "$work/debs")
    lintian --allow-root --tag-display-limit 0 --fail-on error "$deb" > "$work/lintian" 2>&1 || { cat "$work/lintian"; fail "lintian"; }
    [ "$(dpkg-deb --field "$deb" Version)" = "$version" ] || fail "the package's version is not Cargo.toml's"

    cp "$deb" "$node/root/root/nodetriage.deb"
    in_node dpkg --install /root/nodetriage.deb > "$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail "dpkg --install"; }
    [ "$(in_node nodetriage --version)" = "nodetriage $version" ] || fail "the installed binary says $(in_node nodetriage --version)"
    [ "$(in_node systemctl is-enabled nodetriage)" = enabled ] || fail "the unit is not enabled"
    # Type=notify: it is active once it has looked at the node.
    [ "$(in_node systemctl is-active nodetriage)" = active ] || { in_node journalctl -u nodetriage --no-pager; fail "the unit does not run"; }
    [ "$(in_node systemctl show -P User nodetriage)" = nodetriage ] || fail "it does not run as its user"
    # The limit is kept, and not by being killed.
    local restarts peak
    restarts=$(in_node systemctl show -P NRestarts nodetriage)
    peak=$(awk '/^VmHWM/ { print $2 }' "$node/host/proc/$(in_node systemctl show -P MainPID nodetriage)/status")
    [ "$restarts" = 0 ] || fail "it was restarted $restarts times"
    in_node dpkg --purge nodetriage > "$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail "dpkg --purge"; }
    local left
    left=$(cd "$node/root" && find usr/bin etc usr/lib/systemd usr/lib/sysusers.d usr/share/doc var/lib -name 'nodetriage*')
    [ -z "$left" ] || fail "left after a purge: $left"
    ! in_node systemctl --quiet is-active nodetriage || fail "it still runs after a purge"
    echo "ok: $(basename "$deb") installs, runs (peak $peak kB), and is purged"
}

image() {
    local oci=$work/oci rootfs=$work/bundle/rootfs config manifest layer
    packaging/image "$binary" "$work/image.tar" >/dev/null
    mkdir -p "$oci" "$rootfs"
    tar --extract --file "$work/image.tar" --directory "$oci"
    blob() { echo "$oci/blobs/${1/://}"; }
    manifest=$(blob "$(jq -r '.manifests[0].digest' "$oci/index.json")")
    config=$(blob "$(jq -r .config.digest "$manifest")")
    jq -e --arg version "$version" '.config.User == "65534:65534" and .config.Entrypoint == ["/usr/bin/nodetriage"]
        and .config.Labels["org.opencontainers.image.version"] == $version' "$config" >/dev/null || { jq . "$config"; fail "the image's configuration"; }
    jq -r '.layers[].digest' "$manifest" | while read -r layer; do
        tar --extract --gzip --xattrs --xattrs-include='*' --file "$(blob "$layer")" --directory "$rootfs"
    done
    [ "$(find "$rootfs" -type f -printf '/%P\n')" = /usr/bin/nodetriage ] || { find "$rootfs"; fail "more than the binary is in the image"; }
    [ "$(chroot "$rootfs" /usr/bin/nodetriage --version)" = "nodetriage $version" ] || fail "the image's binary does not start"
    echo "ok: image"
}

# The DaemonSet's user, capabilities and mounts, by runc, on a lab node. Its
# secrets belong to a service of its own, so that only CAP_DAC_READ_SEARCH reads them.
pod() {
    local report=$work/report.json address pid
    chmod 0700 "$node/root/etc/kubernetes/pki" "$node/root/var/lib/kubelet/pki"
    chown -R 1234:1234 "$node/root/etc/kubernetes/pki" "$node/root/var/lib/kubelet/pki"
    in_pod check --root /host --node-name node1 --output json > "$report" 2> "$work/stderr" || { cat "$work/stderr" "$report"; fail "a healthy node is not healthy to the pod"; }
    jq -e '.unknown == []' "$report" >/dev/null || { jq .unknown "$report"; fail "the pod cannot see what its manifest mounts"; }

    address=$(cat "$node/address"):20258
    in_pod serve --root /host --node-name node1 --listen "$address" 2> "$work/stderr" &
    pid=$!
    until_true 10 "the pod is ready" curl -fsS -o /dev/null "http://$address/readyz" 2>/dev/null
    # root CODE: the first finding.
    root() { [ "$(curl -fsS "http://$address/api/v1/report" | jq -r '.findings[0].code // "none"')" = "$1" ]; }
    root none || fail "the pod finds $(curl -fsS "http://$address/api/v1/report")"
    in_node systemctl stop kubelet
    until_true 10 "the pod sees the kubelet stopped" root unit-inactive
    in_node systemctl start kubelet
    until_true 10 "the pod sees it started" root none
    # What the kernel left of a crash, where nobody else may look.
    local crashes
    for crashes in sys/fs/pstore var/crash; do
        mkdir -m 0700 "$node/host/$crashes"
        echo 'Kernel panic - not syncing: Fatal exception' > "$node/host/$crashes/dmesg-1"
        # Nothing tells of it; what is told of journald's files brings the next look.
        in_node journalctl --rotate
        until_true 10 "the pod sees /$crashes" root kernel-panic-recorded
        rm -r "${node:?}/host/$crashes"
        in_node journalctl --rotate
        until_true 10 "the pod sees that it was put away" root none
    done
    # And what is in the file that only its owner may read.
    tests/kubeadm-tree.sh renew "$node/root" -1
    chown -R 1234:1234 "$node/root/var/lib/kubelet/pki"
    until_true 10 "the pod sees an expired certificate" root certificate-expired
    runc --root "$work/runc" kill nodetriage TERM
    wait "$pid" || { cat "$work/stderr"; fail "SIGTERM does not end the pod cleanly"; }
    echo "ok: the pod's sandbox"
}

in_pod() {
    python3 tests/sandbox.py "$work/manifests.json" "$work/bundle/rootfs" "$node/host" "$@" > "$work/bundle/config.json"
    nsenter --target "$(cat "$node/pid")" --uts --net runc --root "$work/runc" run --bundle "$work/bundle" nodetriage
}

tests/lab/boot trixie "$lab"
manifests
unit
debian_package
image
pod
