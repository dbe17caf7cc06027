"""tests/deploy.sh: an OCI runtime configuration from the DaemonSet's container, as containerd writes one for a pod.

sandbox.py MANIFEST.json ROOTFS HOSTROOT ARG... > config.json

HOSTROOT stands for the node's file system: hostPath P is HOSTROOT/P. hostNetwork shares the network and the host name with
whoever starts it. What a pod has beyond this (the resource limits, the seccomp profile) is left out: this checks user,
capabilities, no_new_privs and mounts.
"""

import json
import os
import sys

manifest, rootfs, host_root, *args = sys.argv[1:]
items = json.load(open(manifest))
pod = next(item for item in items if item["kind"] == "DaemonSet")["spec"]["template"]["spec"]
container = pod["containers"][0]
security = container["securityContext"]
capabilities = [f"CAP_{name}" for name in security["capabilities"]["add"]]
assert security["capabilities"]["drop"] == ["ALL"]

mounts = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
]
volumes = {volume["name"]: volume for volume in pod["volumes"]}
for mount in container["volumeMounts"]:
    volume = volumes[mount["name"]]
    if "emptyDir" in volume:
        # pkg/volume/emptydir of the kubelet: everybody's.
        mounts.append({"destination": mount["mountPath"], "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=0777"]})
        continue
    # pkg/cri/opts/spec_linux_opts.go of containerd: rbind; rprivate, or rslave for HostToContainer.
    propagation = "rslave" if mount.get("mountPropagation") == "HostToContainer" else "rprivate"
    mode = "ro" if mount.get("readOnly") else "rw"
    source = host_root + volume["hostPath"]["path"]
    if "type" not in volume["hostPath"]:
        # pkg/cri/opts/spec_linux_opts.go of containerd makes what is not there.
        os.makedirs(source, exist_ok=True)
    mounts.append({"destination": mount["mountPath"], "type": "bind", "source": source, "options": ["rbind", propagation, mode]})

json.dump(
    {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
            "args": ["/usr/bin/nodetriage", *args],
            "env": ["PATH=/usr/bin", "NODETRIAGE_NODE_NAME=node1", *("%s=%s" % (one["name"], one["value"]) for one in container["env"] if "value" in one)],
            "cwd": "/",
            # What CRI asks for a user other than root: no inheritable and no ambient set.
            "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": not security["allowPrivilegeEscalation"],
        },
        "root": {"path": rootfs, "readonly": security["readOnlyRootFilesystem"]},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}]},
    },
    sys.stdout,
)
