use std::time::Duration;

use super::kernel::{self, finding};
use super::log;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "image-pull-failing",
    title: "an image of a pod cannot be pulled",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: units_that_do_not_run![
        super::sandbox_image_missing::CHECK,
        super::disk_pressure::CHECK,
        super::inode_pressure::CHECK,
        super::filesystem_read_only::CHECK,
    ],
    signals: &[
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"PullImage .*from image service failed" },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"Failed to pull image" },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"(ErrImagePull|ImagePullBackOff): " },
    ],
    article: include_str!("image_pull_failing.md"),
    examine,
};

/// The kubelet waits up to 5 minutes between two attempts (`pkg/kubelet/kubelet.go` `MaxImageBackOff`), and says so in between.
const REPEATS_SECONDS: i64 = 330;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, REPEATS_SECONDS, log::image)?;
    let waiting = || format!("kubectl get pods -A -o wide --field-selector spec.nodeName={} | grep -E 'ErrImagePull|ImagePullBackOff'", facts.node_name());
    let one = |told: &kernel::Told<'_>| {
        let (image, reason) = (&told.subject, log::pull_failure(&told.last.message));
        finding(told, format!("the image {image} cannot be pulled{reason}"))
            .remedy(format!("crictl pull {image}"))
            .remedy(log::describe_pod(told.last).unwrap_or_else(waiting))
    };
    Ok(told.iter().map(one).map(|finding| Finding { component: Component::Workloads, ..finding }).collect())
}
