#!/usr/bin/env python3
"""Prints a journal in export format: what a node's journal holds that is hard to read.

Repeated and binary fields, long values (which are compressed), empty values, fields without MESSAGE, three boots.
make.sh feeds it to systemd-journal-remote."""

import random
import struct
import sys

random.seed(4)
out = sys.stdout.buffer
BOOTS = ["0a" * 16, "1b" * 16, "2c" * 16]
INVOCATIONS = ["%032x" % random.getrandbits(128) for _ in range(6)]
MACHINE = "7f" * 16
count = int(sys.argv[1]) if len(sys.argv) > 1 else 400


def field(name, value):
    if isinstance(value, str):
        value = value.encode()
    if b"\n" in value or any(byte < 32 and byte != 9 for byte in value):
        out.write(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
    else:
        out.write(name.encode() + b"=" + value + b"\n")


def text(length):
    return " ".join(random.choice(["pod", "node", "lease", "sandbox", "kubelet", "err", "%x" % random.getrandbits(40)]) for _ in range(length))


realtime, monotonic, boot = 1_790_000_000_000_000, 5_000_000, 0
for n in range(count):
    if n and n % (count // 3 + 1) == 0:
        boot, monotonic = boot + 1, 3_000_000
        realtime += 60_000_000
    step = random.randrange(1, 900_000)
    realtime, monotonic = realtime + step, monotonic + step
    out.write(b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n" % (realtime, monotonic, BOOTS[boot].encode()))
    field("_MACHINE_ID", MACHINE)
    field("_HOSTNAME", "node1")
    kind = n % 10
    if kind < 5:
        field("_TRANSPORT", "stdout")
        field("_SYSTEMD_UNIT", "kubelet.service")
        field("_SYSTEMD_INVOCATION_ID", INVOCATIONS[n * 6 // count])
        field("_PID", str(1000 + n * 6 // count))
        field("PRIORITY", "6")
        level = random.choice("IIIWE")
        field("MESSAGE", f"{level}1124 03:12:44.{n:06} {1000:7} kubelet.go:{n}] \"Syncing\" " + text(random.choice([3, 20, 200])))
    elif kind == 5:
        field("_TRANSPORT", "kernel")
        field("PRIORITY", str(random.randrange(8)))
        field("SYSLOG_IDENTIFIER", "kernel")
        field("MESSAGE", "eth0: link up " + text(4))
    elif kind == 6:
        field("_TRANSPORT", "journal")
        field("_PID", "1")
        field("UNIT", random.choice(["kubelet.service", "containerd.service"]))
        field("INVOCATION_ID", random.choice(INVOCATIONS))
        field("MESSAGE_ID", "39f53479d3a045ac8e11786248231fbf")
        field("MESSAGE", "Started kubelet.service - kubelet: The Kubernetes Node Agent.")
    elif kind == 7:
        field("_TRANSPORT", "syslog")
        field("MESSAGE", b"binary \x00\x01\x02\xff " + random.randbytes(random.choice([3, 900])))
        field("TAGS", "first")
        field("TAGS", "second")
        field("TAGS", "first and last")
    elif kind == 8:
        field("_TRANSPORT", "audit")
        field("EMPTY", "")
        field("NO_MESSAGE", text(2))
    else:
        field("_TRANSPORT", "stdout")
        field("_SYSTEMD_UNIT", "containerd.service")
        field("MESSAGE", f'time="2026-11-24T03:12:44Z" level=info msg="{text(60)}"\nsecond line\n\tthird line')
    out.write(b"\n")
