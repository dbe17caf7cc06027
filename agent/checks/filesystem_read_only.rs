use std::time::Duration;

use crate::config::Config;
use crate::facts::pressure::Mount;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "filesystem-read-only",
    title: "a file system that the kubelet or the runtime writes to is read-only",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[&super::filesystem_error::CHECK, &super::disk_io_error::CHECK],
    signals: &[],
    article: include_str!("filesystem_read_only.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let mounts = facts.pressure.ok()?.mounts.ok()?;
    Ok(mounts.iter().filter(|mount| mount.read_only_filesystem || mount.read_only_mount).map(finding).collect())
}

fn finding(mount: &Mount) -> Finding {
    let Mount { mount_point, source, fs_type, .. } = mount;
    let saw = if mount.read_only_filesystem { "the file system is read-only" } else { "this mount is read-only, the file system is not" };
    let finding =
        Finding::new(Component::Node, mount_point.clone(), format!("{mount_point} is read-only: nothing can be written to {}", mount.holds.join(", ")))
            .evidence("/proc/1/mountinfo", format!("{source} ({fs_type}) on {mount_point}: {saw}"));
    let point = quote(mount_point);
    if mount.read_only_filesystem {
        let finding = finding.remedy("dmesg -T | grep -iE 'I/O error|EXT4-fs|XFS|BTRFS|remount' | tail -20  # did the kernel do it after an error?");
        return finding
            .remedy(format!("mount -o remount,rw {point}  # if there was no error; else drain the node and check the disk (fsck) from a rescue system"));
    }
    finding.remedy(format!("findmnt --fstab {point}  # who mounts it read-only?")).remedy(format!("mount -o remount,bind,rw {point}"))
}
