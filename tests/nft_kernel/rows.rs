//! Section 3 of the semantics reference row by row, and the corners of section 7 that concern the dataplane: every row
//! with the tests that show it, most of them with real packets through the whole way from objects to the kernel.

#[path = "rows/affinity.rs"]
mod affinity;
#[path = "rows/corners.rs"]
mod corners;
#[path = "rows/endpoints.rs"]
mod endpoints;
#[path = "rows/frontends.rs"]
mod frontends;
#[path = "rows/inputs.rs"]
mod inputs;
#[path = "rows/invalid.rs"]
mod invalid;
#[path = "rows/masquerade.rs"]
mod masquerade;
#[path = "rows/sctp.rs"]
mod sctp;
#[path = "rows/sources.rs"]
mod sources;
#[path = "rows/world.rs"]
mod world;

/// A row, and the tests that show it.
type Row = (&'static str, &'static [&'static str]);

/// In the order of the reference. 3.6 (conntrack) and 3.8 (metrics) have tests of their own kind elsewhere: the flows'
/// tests of nft_kernel and those of the node role; 3.9 describes kube-proxy's own table.
const ROWS: [Row; 62] = [
    ("3.1 service-proxy-name", &["a_service_for_another_proxy_gives_nothing_and_a_named_proxy_takes_only_its_own"]),
    ("3.1 headless Services and slices", &["headless_services_and_aliases_give_nothing"]),
    (
        "3.1 nothing before the first full lists",
        &["a_cluster_furnishes_itself_and_a_deployment_rolls_through_lost_watches_and_conflicts"],
    ),
    (
        "3.1 no cluster IP of a family, nothing in it",
        &["a_family_without_a_cluster_ip_has_no_node_port_external_ip_or_load_balancer_address"],
    ),
    (
        "3.1 ports match by name and protocol",
        &["slices_join_by_port_name_and_protocol_and_ports_without_a_number_are_ignored"],
    ),
    (
        "3.1 same ip:port twice",
        &["of_an_address_seen_twice_a_later_one_that_stays_wins_and_one_that_terminates_never_does"],
    ),
    ("3.2(1) cluster set", &["the_cluster_set_is_the_ready_ones_and_only_without_any_those_that_serve_and_terminate"]),
    ("3.2(2) local set", &["the_local_set_is_chosen_by_itself_whatever_is_ready_elsewhere"]),
    ("3.2(3) topology", &["hints_for_nodes_then_zones_narrow_the_cluster_set_and_one_missing_hint_switches_them_off"]),
    ("3.2(3) hints and policy Local", &["hints_do_not_touch_policy_local"]),
    ("3.2(4) publishNotReadyAddresses", &["unready_endpoints_that_are_published_count_by_their_condition_ready_alone"]),
    ("3.2 clusterIP, Cluster", &["cluster_ips_are_met_by_packets_that_pass_and_by_those_the_node_makes"]),
    (
        "3.2 clusterIP, Local, none local: DROP",
        &["internal_policy_local_without_a_local_endpoint_drops_and_without_any_refuses"],
    ),
    ("3.2 external, Cluster", &["external_policy_cluster_uses_every_endpoint_on_every_way_in"]),
    (
        "3.2 external, Local: short circuit",
        &["external_policy_local_binds_off_node_clients_and_short_circuits_pods_and_the_node"],
    ),
    (
        "3.2 external, Local, none local: DROP",
        &["external_policy_local_without_a_local_endpoint_drops_off_node_clients_only"],
    ),
    (
        "3.2 no usable endpoint: REJECT",
        &["without_any_usable_endpoint_every_way_in_refuses_at_once_under_both_policies"],
    ),
    ("3.3 masqueradeAll", &["masquerade_all_hides_every_source_towards_cluster_ips_under_both_policies"]),
    (
        "3.3 detector, source is no pod",
        &[
            "towards_cluster_ips_pods_keep_their_source_and_all_others_do_not",
            "pods_may_be_told_by_the_interface_on_which_they_arrive",
        ],
    ),
    (
        "3.3 no detector",
        &[
            "without_a_local_detector_cluster_ips_are_not_masqueraded_and_pods_are_not_short_circuited",
            "a_family_without_a_pod_range_has_no_local_detector",
        ],
    ),
    ("3.3 clusterIP from pod", &["towards_cluster_ips_pods_keep_their_source_and_all_others_do_not"]),
    ("3.3 external, Cluster: always", &["external_policy_cluster_always_masquerades_even_pods"]),
    (
        "3.3 external, Local: client, pod, host",
        &["external_policy_local_keeps_off_node_clients_and_pods_and_hides_the_node"],
    ),
    ("3.3 hairpin", &["a_pod_that_reaches_itself_sees_the_node"]),
    (
        "3.3 mark bit, random-fully",
        &[
            "the_mark_bit_is_the_one_asked_for_and_ports_are_drawn_fully_at_random",
            "only_bits_above_the_identity_ask_for_masquerade",
        ],
    ),
    (
        "3.3 INVALID",
        &[
            "segments_beyond_the_window_are_dropped_and_the_connection_lives",
            "without_those_rules_the_same_segments_reset_it",
        ],
    ),
    ("3.4 clusterIP", &["cluster_ips_are_met_by_packets_that_pass_and_by_those_the_node_makes"]),
    ("3.4 externalIP", &["external_ips_are_met_though_no_node_has_them"]),
    ("3.4 LB address, VIP", &["load_balancer_addresses_are_met_on_the_node_and_pod_traffic_never_leaves"]),
    ("3.4 LB address, Proxy, hostname", &["with_ip_mode_proxy_or_a_name_alone_traffic_goes_to_the_load_balancer"]),
    ("3.4 nodePort", &["node_ports_are_met_on_the_chosen_addresses_only_and_after_every_other_way_in"]),
    ("3.4 127.0.0.1:nodePort", &["node_ports_are_not_met_on_loopback_addresses"]),
    (
        "3.4 healthCheckNodePort, and 3.7",
        &[
            "only_what_is_ready_here_counts_each_address_once",
            "policy_cluster_has_no_port",
            "the_answer_is_what_load_balancers_expect",
        ],
    ),
    (
        "3.4 undefined port, unassigned address",
        &["unknown_ports_of_a_service_and_unknown_addresses_of_its_range_are_refused_at_once"],
    ),
    (
        "3.4 no socket holds a node port",
        &["no_socket_holds_a_node_port_and_the_rules_shadow_a_daemon_that_takes_its_number"],
    ),
    (
        "3.4 source ranges: which ways in, DROP",
        &["ranges_restrict_load_balancer_addresses_and_nothing_else_and_others_are_dropped"],
    ),
    ("3.4 source ranges: /0", &["everything_as_a_range_allows_everybody_of_its_family"]),
    ("3.4 source ranges: node in a range", &["a_node_in_a_range_reaches_its_own_load_balancer_address"]),
    ("3.4 source ranges: per family", &["ranges_of_one_family_leave_the_address_of_the_other_open"]),
    (
        "3.4 source ranges: thousands",
        &[
            "five_thousand_ranges_in_each_family_admit_and_drop_rightly_and_one_more_is_one_change",
            "ranges_cost_nothing_to_services_that_have_none",
        ],
    ),
    ("3.5 uniform choice", &["connections_spread_evenly_over_three_and_over_thirty_three_endpoints"]),
    (
        "3.5 ClientIP per Service port, all ways in",
        &["a_client_keeps_its_endpoint_on_every_way_in_and_each_port_chooses_for_itself"],
    ),
    (
        "3.5 idle timeout",
        &[
            "silence_is_forgotten_and_the_next_connection_chooses_anew",
            "silence_is_forgotten_in_time_and_every_connection_starts_it_again",
        ],
    ),
    ("3.5 endpoint leaves", &["a_client_leaves_an_endpoint_that_is_no_longer_eligible"]),
    ("3.5 ETP Local: among local endpoints", &["under_policy_local_only_local_endpoints_are_kept"]),
    ("3.5 None <-> ClientIP", &["affinity_is_switched_on_and_off_on_a_living_service"]),
    ("3.6 UDP flows of endpoints that left", &["udp_flows_of_an_endpoint_that_left_are_deleted_and_no_others"]),
    (
        "3.10 SCTP",
        &[
            "sctp_reaches_every_endpoint_on_every_way_in_in_both_families",
            "sctp_follows_policy_local_and_is_refused_without_endpoints_and_at_unknown_ports",
            "an_sctp_service_loads_no_module",
        ],
    ),
    ("7 #7 finished pods", &["r7_7_and_8_finished_pods_go_and_two_pods_may_share_an_address"]),
    (
        "7 #8 two pods, one address",
        &["of_an_address_seen_twice_a_later_one_that_stays_wins_and_one_that_terminates_never_does"],
    ),
    ("7 #12 ports: [] and nil", &["slices_join_by_port_name_and_protocol_and_ports_without_a_number_are_ignored"]),
    ("7 #13 stale UDP flows", &["udp_flows_of_an_endpoint_that_left_are_deleted_and_no_others"]),
    (
        "7 #15 out-of-window segments",
        &[
            "segments_beyond_the_window_are_dropped_and_the_connection_lives",
            "without_those_rules_the_same_segments_reset_it",
        ],
    ),
    (
        "7 #16 short circuit before the drop",
        &["external_policy_local_without_a_local_endpoint_drops_off_node_clients_only"],
    ),
    ("7 #18 127/8", &["node_ports_are_not_met_on_loopback_addresses"]),
    ("7 #19 hijack by naming addresses", &["naming_another_services_cluster_ip_takes_none_of_its_traffic"]),
    (
        "7 #20 source ranges",
        &[
            "ranges_restrict_load_balancer_addresses_and_nothing_else_and_others_are_dropped",
            "a_range_that_cannot_be_read_opens_nothing_and_is_told",
        ],
    ),
    ("7 #21 ipMode", &["with_ip_mode_proxy_or_a_name_alone_traffic_goes_to_the_load_balancer"]),
    (
        "7 #22 affinity",
        &[
            "a_client_keeps_its_endpoint_on_every_way_in_and_each_port_chooses_for_itself",
            "a_client_leaves_an_endpoint_that_is_no_longer_eligible",
            "under_policy_local_only_local_endpoints_are_kept",
        ],
    ),
    (
        "7 #23 node ports and daemons",
        &["no_socket_holds_a_node_port_and_the_rules_shadow_a_daemon_that_takes_its_number"],
    ),
    ("7 #24 a pod and its own node's LB address", &["a_pod_reaches_the_load_balancer_address_of_its_own_node"]),
    ("7 #24 a node without endpoints", &["external_policy_local_without_a_local_endpoint_drops_off_node_clients_only"]),
];

/// Where those tests are.
const SOURCES: [&str; 16] = [
    include_str!("../nft_kernel.rs"),
    include_str!("rows/affinity.rs"),
    include_str!("rows/corners.rs"),
    include_str!("rows/endpoints.rs"),
    include_str!("rows/frontends.rs"),
    include_str!("rows/inputs.rs"),
    include_str!("rows/invalid.rs"),
    include_str!("rows/masquerade.rs"),
    include_str!("rows/sctp.rs"),
    include_str!("rows/sources.rs"),
    include_str!("../../crates/compile/src/endpoints/tests/producers.rs"),
    include_str!("../../crates/compile/src/health_check.rs"),
    include_str!("../../crates/compile/src/nft/interpret/tests.rs"),
    include_str!("../../crates/compile/src/service_table/config.rs"),
    include_str!("../../crates/compile/src/nft/rules/cost.rs"),
    include_str!("../../crates/controller/src/tests.rs"),
];

#[test]
fn every_row_names_tests_that_exist() {
    for (row, tests) in ROWS {
        assert!(!tests.is_empty(), "{row} has no test");
        for test in tests {
            let definitions = SOURCES.iter().map(|source| source.matches(&format!("fn {test}(")).count());
            assert!(definitions.sum::<usize>() >= 1, "{row}: there is no test {test}");
        }
    }
}
