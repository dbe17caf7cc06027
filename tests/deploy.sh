#!/bin/bash
# What ships besides the binary: manifests, unit, Debian package, image.
#   tests/deploy.sh [BINARY STATIC]   default: both are built, unoptimized
# STATIC is the binary for the image, linked statically. Debian as root: installs
# what it needs; a virtualenv is kept in ~/.cache/nodetriage.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(binutils buildah dpkg-dev jq libcap2-bin lintian openssl python3-venv runc systemd util-linux)
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

work=$(mktemp -d)
finish() {
    ! mountpoint -q "$work/debian/root" || umount -R "$work/debian/root"
    ! mountpoint -q "$work/debian" || umount "$work/debian"
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "deploy.sh: $*" >&2; exit 1; }

if [ $# = 0 ]; then
    # The static one first, so that target/debug is left as `cargo build` leaves it.
    cargo rustc --quiet --bin nodetriage -- -C target-feature=+crt-static
    install -D target/debug/nodetriage "$work/static/nodetriage"
    cargo build --quiet --bin nodetriage
    set -- target/debug/nodetriage "$work/static/nodetriage"
fi
binary=$(realpath "$1")
static=$(realpath "$2")
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
    promised '[.containers[0].volumeMounts[] | .readOnly] | all'
    # A hostPath of another type is created on the node, or keeps the pod from starting.
    promised '[.volumes[] | .hostPath.type == "Directory" and (.hostPath.path | IN("/etc", "/usr", "/lib/systemd", "/opt", "/proc", "/sys/fs/cgroup", "/var/log", "/var/lib", "/run"))] | all'
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

# Installed for real, into a copy-on-write view of this machine.
debian_package() {
    local deb root=$work/debian/root
    deb=$(packaging/deb "$binary" "$work/debs")
    lintian --allow-root --no-tag-display-limit --fail-on error "$deb" > "$work/lintian" 2>&1 || { cat "$work/lintian"; fail "lintian"; }
    [ "$(dpkg-deb --field "$deb" Version)" = "$version" ] || fail "the package's version is not Cargo.toml's"

    mkdir -p "$work/debian" && mount -t tmpfs tmpfs "$work/debian" && mkdir "$work/debian"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/debian/upper,workdir=$work/debian/work" "$root"
    mkdir -p "$root/proc" && mount -t proc proc "$root/proc"
    cp "$deb" "$root/nodetriage.deb"
    chroot "$root" dpkg --install /nodetriage.deb > "$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail "dpkg --install"; }
    [ "$(chroot "$root" nodetriage --version)" = "nodetriage $version" ] || fail "the installed binary says $(chroot "$root" nodetriage --version)"
    chroot "$root" getent passwd nodetriage >/dev/null || fail "no user nodetriage"
    chroot "$root" systemctl is-enabled nodetriage.service >/dev/null || fail "the unit is not enabled"
    chroot "$root" systemd-analyze verify --man=no nodetriage.service 2>&1 | { ! grep nodetriage; } || fail "the installed unit does not verify"
    chroot "$root" dpkg --purge nodetriage > "$work/dpkg" 2>&1 || { cat "$work/dpkg"; fail "dpkg --purge"; }
    [ -z "$(find "$root"/usr/bin "$root"/etc/systemd "$root"/usr/lib/systemd "$root"/usr/share/doc -name 'nodetriage*')" ] || fail "something is left after a purge"
    umount -R "$work/debian/root" && umount "$work/debian"
    echo "ok: $(basename "$deb") installs and is purged"
}

image() {
    local oci=$work/oci rootfs=$work/bundle/rootfs node=$work/node config manifest layer
    packaging/image "$static" "$work/image.tar" >/dev/null
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

    # As the pod: the DaemonSet's user, capabilities and mounts, by runc, over a
    # node's disk with this machine's /proc and cgroups. Its secrets belong to
    # root and to a service of its own.
    tests/kubeadm-tree.sh make "$node" 300
    mkdir -p "$node"/{proc,sys/fs/cgroup,lib/systemd,var/log}
    chmod 0700 "$node/etc/kubernetes/pki" "$node/var/lib/kubelet/pki"
    chown -R 1234:1234 "$node/etc/kubernetes/pki" "$node/var/lib/kubelet/pki"
    in_pod "$node" check --root /host --node-name node1 --output json > "$work/report.json"
    jq -e '[.findings[].code] | all(startswith("certificate") | not)' "$work/report.json" >/dev/null || fail "a healthy certificate is found wrong"
    jq -e '[.unknown[] | select(.domain != "units" and .domain != "journal")] == []' "$work/report.json" >/dev/null ||
        { jq .unknown "$work/report.json"; fail "the pod cannot see what its manifest mounts"; }
    # And it sees what is wrong, in the file that only its owner may read.
    tests/kubeadm-tree.sh renew "$node" -1
    chown -R 1234:1234 "$node/var/lib/kubelet/pki"
    in_pod "$node" check --root /host --node-name node1 --output json > "$work/report.json"
    jq -e 'any(.findings[]; .code == "certificate-expired")' "$work/report.json" >/dev/null || { cat "$work/report.json"; fail "the pod does not see an expired certificate"; }
    echo "ok: the pod's sandbox"
}

# in_pod NODE ARG...: the exit code is the diagnosis, unless it is 3 or a failure to start.
in_pod() {
    local node=$1 status=0
    shift
    python3 tests/sandbox.py "$work/manifests.json" "$work/bundle/rootfs" "$node" "$@" > "$work/bundle/config.json"
    unshare --mount --propagation slave bash -euc '
        mount --rbind /proc "$1/proc"; mount --rbind /sys/fs/cgroup "$1/sys/fs/cgroup"
        exec runc --root "$2/runc" run --bundle "$2/bundle" nodetriage-$$' in_pod "$node" "$work" 2> "$work/stderr" || status=$?
    case $status in 0 | 1 | 2) ;; *) cat "$work/stderr" >&2; fail "in the pod's sandbox it exits with $status" ;; esac
}

manifests
unit
debian_package
image
