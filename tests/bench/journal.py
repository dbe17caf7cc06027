#!/usr/bin/env python3
"""Prints a journal as a node fills it, in export format: journal.py ENTRIES [PER_SECOND] | systemd-journal-remote -o FILE.journal -

All fields that journald adds; 1 % of the lines are the kubelet's, 4 % the kernel's, one line in fifty is long enough to
be compressed."""

import random
import sys
import time

random.seed(1)
out = sys.stdout
boot, machine = "0a" * 16, "7f" * 16
units = [f"svc{n}.service" for n in range(40)]
runs = {unit: "%032x" % random.getrandbits(128) for unit in [*units, "kubelet.service"]}
realtime, monotonic = 1_790_000_000_000_000, 5_000_000
per_second, start = int((sys.argv[2:] or ["0"])[0]), time.monotonic()
for n in range(int(sys.argv[1])):
    # Forty at a time.
    if per_second and n % 40 == 0:
        out.flush()
        time.sleep(max(0, start + n / per_second - time.monotonic()))
    step = random.randrange(1, 2000)
    realtime, monotonic = realtime + step, monotonic + step
    out.write(f"__REALTIME_TIMESTAMP={realtime}\n__MONOTONIC_TIMESTAMP={monotonic}\n_BOOT_ID={boot}\n")
    out.write(f"_MACHINE_ID={machine}\n_HOSTNAME=node1\n_RUNTIME_SCOPE=system\n")
    long = " ".join("%x" % random.getrandbits(40) for _ in range(80)) if n % 50 == 0 else ""
    if n % 25 == 0:
        out.write(f"_TRANSPORT=kernel\nPRIORITY=6\nSYSLOG_FACILITY=0\nSYSLOG_IDENTIFIER=kernel\n_SOURCE_MONOTONIC_TIMESTAMP={monotonic}\n")
        out.write(f"MESSAGE=cni0: port {n % 97}(veth{random.getrandbits(32):x}) entered forwarding state\n\n")
        continue
    unit = "kubelet.service" if n % 100 == 1 else units[n % 40]
    pid = 1000 + n % 41
    out.write(f"_TRANSPORT=stdout\nPRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER={unit[:-8]}\n_PID={pid}\n_UID=0\n_GID=0\n_COMM={unit[:-8]}\n")
    out.write(f"_EXE=/usr/bin/{unit[:-8]}\n_CMDLINE=/usr/bin/{unit[:-8]} --config=/etc/{unit}\n_CAP_EFFECTIVE=1ffffffffff\n_SELINUX_CONTEXT=unconfined\n")
    out.write(f"_SYSTEMD_CGROUP=/system.slice/{unit}\n_SYSTEMD_UNIT={unit}\n_SYSTEMD_SLICE=system.slice\n_SYSTEMD_INVOCATION_ID={runs[unit]}\n_STREAM_ID={runs[unit]}\n")
    out.write(f"MESSAGE=I1124 03:12:44.{n % 1000000:06} {pid:7} kubelet.go:{n % 3000}] \"SyncLoop (PLEG): event for pod\" pod=\"default/pod-{random.getrandbits(20):x}\" {long}\n\n")
