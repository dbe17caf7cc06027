#!/usr/bin/env python3
"""Prints a recorded log of a kubelet or kube-proxy in export format, as journald would have stored it.

usage: corpus.py LOG UNIT. The times are those of the klog headers."""

import datetime
import re
import sys

log, unit = sys.argv[1:]
header = re.compile(r"[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) ")
start = datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)
micros = int(start.timestamp() * 1e6)
first = None
lines = []
for line in open(log, errors="surrogateescape").read().split("\n"):
    match = header.match(line)
    if match:
        month, day, hour, minute, second, micro = map(int, match.groups())
        at = datetime.datetime(2026, month, day, hour, minute, second, micro, tzinfo=datetime.timezone.utc)
        micros = max(micros, int(at.timestamp() * 1e6)) if first else int(at.timestamp() * 1e6)
        first = first or micros
    if line:
        lines.append((micros, line))
out = sys.stdout.buffer
for micros, line in lines:
    micros = max(micros, first or micros)
    fields = {
        "_TRANSPORT": "stdout",
        "_SYSTEMD_UNIT": unit,
        "_SYSTEMD_INVOCATION_ID": "51" * 16,
        "PRIORITY": "6",
        "MESSAGE": line,
    }
    out.write(b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n" % (micros, micros - (first or micros) + 9_000_000, b"0a" * 16))
    for name, value in fields.items():
        value = value.encode(errors="surrogateescape")
        out.write(name.encode() + b"=" + value + b"\n")
    out.write(b"\n")
