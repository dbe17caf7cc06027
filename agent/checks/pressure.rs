//! What the four pressure checks share: the kubelet's comparison.

use crate::facts::kubelet::EvictionThreshold;
use crate::facts::pressure::Signal;
use crate::facts::{Blind, Facts};

/// The signals below their hard threshold (strictly less, `OpLessThan`), among those that `wanted` accepts.
pub(super) fn under_threshold(facts: &Facts, wanted: fn(&str) -> bool) -> Result<Vec<(Signal, EvictionThreshold, u64)>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    Ok(pressure
        .signals()
        .into_iter()
        .filter(|signal| wanted(signal.name))
        .filter_map(|signal| {
            let threshold = kubelet.eviction_threshold(signal.name)?;
            let limit = threshold.value.of(signal.capacity);
            (signal.available < limit).then(|| (signal, threshold.clone(), limit))
        })
        .collect())
}

/// `1.5 GiB`, as a person reads bytes.
pub(super) fn bytes(count: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // for reading only
    let count = count as f64;
    match count {
        c if c >= 1_073_741_824.0 => format!("{:.1} GiB", c / 1_073_741_824.0),
        c if c >= 1_048_576.0 => format!("{:.1} MiB", c / 1_048_576.0),
        c => format!("{:.0} KiB", c / 1024.0),
    }
}
