//! What the facts mean. One check = one file here + its article of the same name; this list is the catalogue.
//!
//! A check is a pure function of facts and configuration.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// `explained_by`: the checks of units that do not run, and what else explains it.
macro_rules! units_that_do_not_run {
    ($($also:path),* $(,)?) => {
        &[
            &super::unit_missing::CHECK,
            &super::unit_masked::CHECK,
            &super::unit_load_error::CHECK,
            &super::unit_failed::CHECK,
            &super::unit_stuck::CHECK,
            &super::unit_inactive::CHECK,
            &super::unit_crash_looping::CHECK,
            $(&$also,)*
        ]
    };
}

pub mod api_server_endpoint_mismatch;
pub mod api_server_name_unresolvable;
pub mod api_server_not_running;
pub mod api_server_refused;
pub mod api_server_unauthorized;
pub mod api_server_unreachable;
pub mod api_server_untrusted;
pub mod bridge_netfilter_off;
mod certificate;
pub mod certificate_address_missing;
pub mod certificate_embedded_stale;
pub mod certificate_expired;
pub mod certificate_expiring;
pub mod certificate_expiring_soon;
pub mod certificate_invalid;
pub mod certificate_key_exposed;
pub mod certificate_key_mismatch;
pub mod certificate_not_yet_valid;
pub mod certificate_outlives_issuer;
pub mod certificate_rotation_overdue;
pub mod certificate_served_differs;
pub mod certificate_untrusted_issuer;
pub mod certificate_wrong_group;
pub mod certificate_wrong_usage;
pub mod certificate_wrong_user;
pub mod cgroup_driver_mismatch;
pub mod cgroup_v1_refused;
mod cni;
pub mod cni_addresses_exhausted;
pub mod cni_config_ambiguous;
pub mod cni_config_invalid;
pub mod cni_config_invalid_shadowed;
pub mod cni_config_missing;
pub mod cni_config_wrong_first;
pub mod cni_network_policy_unsupported;
pub mod cni_plugin_missing;
pub mod cni_runtime_file_missing;
mod conntrack;
pub mod conntrack_filling;
pub mod conntrack_full;
pub mod coredns_looping;
pub mod cpu_starved;
pub mod disk_filling;
pub mod disk_io_error;
pub mod disk_pressure;
pub mod disk_pressure_soft;
pub mod dns_forwarding_loop;
pub mod etcd_slow;
pub mod file_handles_exhausting;
pub mod filesystem_error;
pub mod filesystem_read_only;
mod filling;
mod forecast;
pub mod hardware_error;
mod health;
pub mod image_pull_failing;
pub mod inode_pressure;
pub mod inode_pressure_soft;
pub mod inodes_filling;
pub mod inotify_exhausting;
pub mod io_stalled;
pub mod ip_forwarding_off;
pub mod journal_unreadable;
pub mod journal_volatile;
mod kernel;
pub mod kernel_hung_task;
pub mod kernel_module_missing;
pub mod kernel_oops;
pub mod kernel_panic_recorded;
pub mod kernel_soft_lockup;
mod kube_proxy;
pub mod kube_proxy_config_invalid;
pub mod kube_proxy_config_missing;
pub mod kube_proxy_node_name_mismatch;
pub mod kube_proxy_not_running;
pub mod kube_proxy_port_in_use;
pub mod kube_proxy_unhealthy;
mod kubelet;
pub mod kubelet_client_ca_missing;
pub mod kubelet_cluster_dns_missing;
pub mod kubelet_config_exposed;
pub mod kubelet_config_invalid;
pub mod kubelet_config_missing;
pub mod kubelet_config_unknown_field;
pub mod kubelet_flag_invalid;
pub mod kubelet_flag_outdated;
pub mod kubelet_flag_unknown;
pub mod kubelet_kubeconfig_invalid;
pub mod kubelet_kubeconfig_missing;
pub mod kubelet_pleg_unhealthy;
pub mod kubelet_port_in_use;
pub mod kubelet_reservation_exceeds_capacity;
pub mod kubelet_swap_blocks;
pub mod kubelet_unhealthy;
mod log;
pub mod memory_draining;
pub mod memory_pressure;
pub mod memory_pressure_soft;
pub mod memory_stalled;
pub mod netdevice_unregister_stuck;
pub mod nic_flapping;
pub mod node_ip_missing;
pub mod node_lease_stale;
pub mod node_name_mismatch;
pub mod node_not_joined;
pub mod node_not_kubernetes;
pub mod node_rebooted_uncleanly;
mod oom;
pub mod oom_kill;
pub mod oom_kill_system;
pub mod pid_pressure;
pub mod pid_pressure_soft;
pub mod pod_cidr_overlap;
mod pressure;
pub mod pressure_lifting;
pub mod resolv_conf_missing;
pub mod resolv_conf_truncated;
mod runtime;
pub mod runtime_config_invalid;
pub mod runtime_cri_missing;
pub mod runtime_endpoint_mismatch;
pub mod runtime_socket_missing;
pub mod runtime_unresponsive;
pub mod sandbox_image_missing;
mod soft;
mod stall;
pub mod static_pod_duplicated;
pub mod static_pod_manifest_invalid;
pub mod static_pod_path_missing;
pub mod swap_enabled;
mod unit;
pub mod unit_crash_looping;
pub mod unit_disabled;
pub mod unit_failed;
pub mod unit_inactive;
pub mod unit_load_error;
pub mod unit_masked;
pub mod unit_missing;
pub mod unit_needs_daemon_reload;
pub mod unit_stuck;
pub mod volume_plugin_dir_missing;
pub mod zombies_piling_up;

use crate::finding::{Check, Signal};

/// Every check, in the order of the catalogue.
pub const ALL: &[&Check] = &[
    &unit_missing::CHECK,
    &unit_masked::CHECK,
    &unit_load_error::CHECK,
    &unit_inactive::CHECK,
    &unit_failed::CHECK,
    &unit_crash_looping::CHECK,
    &unit_stuck::CHECK,
    &unit_disabled::CHECK,
    &unit_needs_daemon_reload::CHECK,
    &kubelet_config_missing::CHECK,
    &kubelet_config_invalid::CHECK,
    &kubelet_config_unknown_field::CHECK,
    &kubelet_config_exposed::CHECK,
    &kubelet_client_ca_missing::CHECK,
    &kubelet_kubeconfig_missing::CHECK,
    &kubelet_kubeconfig_invalid::CHECK,
    &kubelet_flag_unknown::CHECK,
    &kubelet_flag_invalid::CHECK,
    &kubelet_flag_outdated::CHECK,
    &kubelet_pleg_unhealthy::CHECK,
    &kubelet_port_in_use::CHECK,
    &kubelet_unhealthy::CHECK,
    &api_server_endpoint_mismatch::CHECK,
    &api_server_not_running::CHECK,
    &api_server_refused::CHECK,
    &api_server_unreachable::CHECK,
    &api_server_name_unresolvable::CHECK,
    &api_server_untrusted::CHECK,
    &api_server_unauthorized::CHECK,
    &kubelet_reservation_exceeds_capacity::CHECK,
    &kubelet_swap_blocks::CHECK,
    &swap_enabled::CHECK,
    &cgroup_driver_mismatch::CHECK,
    &cgroup_v1_refused::CHECK,
    &node_name_mismatch::CHECK,
    &node_ip_missing::CHECK,
    &static_pod_path_missing::CHECK,
    &static_pod_manifest_invalid::CHECK,
    &static_pod_duplicated::CHECK,
    &resolv_conf_missing::CHECK,
    &resolv_conf_truncated::CHECK,
    &dns_forwarding_loop::CHECK,
    &kubelet_cluster_dns_missing::CHECK,
    &volume_plugin_dir_missing::CHECK,
    &coredns_looping::CHECK,
    &certificate_expired::CHECK,
    &certificate_expiring_soon::CHECK,
    &certificate_expiring::CHECK,
    &certificate_not_yet_valid::CHECK,
    &certificate_wrong_group::CHECK,
    &certificate_wrong_user::CHECK,
    &certificate_untrusted_issuer::CHECK,
    &certificate_invalid::CHECK,
    &certificate_key_mismatch::CHECK,
    &certificate_wrong_usage::CHECK,
    &certificate_rotation_overdue::CHECK,
    &certificate_embedded_stale::CHECK,
    &certificate_outlives_issuer::CHECK,
    &certificate_address_missing::CHECK,
    &certificate_served_differs::CHECK,
    &certificate_key_exposed::CHECK,
    &cni_config_missing::CHECK,
    &cni_config_invalid::CHECK,
    &cni_config_invalid_shadowed::CHECK,
    &cni_config_wrong_first::CHECK,
    &cni_config_ambiguous::CHECK,
    &cni_plugin_missing::CHECK,
    &cni_runtime_file_missing::CHECK,
    &cni_addresses_exhausted::CHECK,
    &pod_cidr_overlap::CHECK,
    &cni_network_policy_unsupported::CHECK,
    &filesystem_read_only::CHECK,
    &memory_pressure::CHECK,
    &disk_pressure::CHECK,
    &inode_pressure::CHECK,
    &pid_pressure::CHECK,
    &disk_filling::CHECK,
    &inodes_filling::CHECK,
    &memory_draining::CHECK,
    &memory_pressure_soft::CHECK,
    &disk_pressure_soft::CHECK,
    &inode_pressure_soft::CHECK,
    &pid_pressure_soft::CHECK,
    &pressure_lifting::CHECK,
    &memory_stalled::CHECK,
    &io_stalled::CHECK,
    &cpu_starved::CHECK,
    &file_handles_exhausting::CHECK,
    &inotify_exhausting::CHECK,
    &zombies_piling_up::CHECK,
    &conntrack_full::CHECK,
    &conntrack_filling::CHECK,
    &kube_proxy_not_running::CHECK,
    &kube_proxy_config_missing::CHECK,
    &kube_proxy_config_invalid::CHECK,
    &kube_proxy_unhealthy::CHECK,
    &kube_proxy_port_in_use::CHECK,
    &kube_proxy_node_name_mismatch::CHECK,
    &kernel_module_missing::CHECK,
    &ip_forwarding_off::CHECK,
    &bridge_netfilter_off::CHECK,
    &oom_kill_system::CHECK,
    &oom_kill::CHECK,
    &filesystem_error::CHECK,
    &disk_io_error::CHECK,
    &hardware_error::CHECK,
    &kernel_hung_task::CHECK,
    &kernel_soft_lockup::CHECK,
    &kernel_oops::CHECK,
    &kernel_panic_recorded::CHECK,
    &node_rebooted_uncleanly::CHECK,
    &netdevice_unregister_stuck::CHECK,
    &nic_flapping::CHECK,
    &node_lease_stale::CHECK,
    &image_pull_failing::CHECK,
    &etcd_slow::CHECK,
    &runtime_config_invalid::CHECK,
    &runtime_cri_missing::CHECK,
    &runtime_endpoint_mismatch::CHECK,
    &runtime_socket_missing::CHECK,
    &runtime_unresponsive::CHECK,
    &sandbox_image_missing::CHECK,
    &journal_unreadable::CHECK,
    &journal_volatile::CHECK,
    &node_not_joined::CHECK,
    &node_not_kubernetes::CHECK,
];

/// The check of that code.
#[must_use]
pub fn get(code: &str) -> Option<&'static Check> {
    ALL.iter().copied().find(|check| check.code == code)
}

/// Every log line that a check counts, with the check's code.
#[must_use]
pub fn signals() -> Vec<(&'static str, &'static Signal)> {
    ALL.iter().flat_map(|check| check.signals.iter().map(|signal| (check.code, signal))).collect()
}
