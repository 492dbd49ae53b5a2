//! Which settings must change so that packets travel between pods and the host's links: readings in, changes out. Pure.
//!
//! A link's own setting is preferred to the one for all links. IPv6 has a setting per link since Linux 6.17; before that
//! only the one for all links, which also turns on every link's own and that of later links: those go back at once, since a
//! link whose own is on is deaf to router advertisements.

use std::collections::BTreeSet;

use super::ledger::Change;

const ALL6: &str = "net/ipv6/conf/all/forwarding";
const DEFAULT6: &str = "net/ipv6/conf/default/forwarding";

/// What is needed. `read` gives a setting's value, `links` names every link, `uplinks` those that lead to others.
pub(crate) fn plan(
    read: &dyn Fn(&str) -> Option<String>,
    links: &[String],
    uplinks: &BTreeSet<String>,
    v6: bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for link in uplinks {
        // A program that turns forwarding on for all links later wants it on here, too.
        let only_if = vec![("net/ipv4/ip_forward".to_owned(), read("net/ipv4/ip_forward").unwrap_or_default())];
        changes.extend(set(read, &format!("net/ipv4/conf/{link}/forwarding"), "1", only_if, Vec::new()));
    }
    if v6 && read(ALL6).as_deref() == Some("0") {
        let own = |link: &String| format!("net/ipv6/conf/{link}/force_forwarding");
        // `all` has the setting whenever any link has.
        if read("net/ipv6/conf/all/force_forwarding").is_some() {
            changes.extend(uplinks.iter().filter_map(|link| set(read, &own(link), "1", Vec::new(), Vec::new())));
        } else {
            changes.extend(all6(read, links));
        }
    }
    changes
}

/// Forwarding of all links at once, without that of any one link: packets pass, and links go on listening to routers.
/// Whoever else turns it on turns on that of later links, too, by which he is known.
fn all6(read: &dyn Fn(&str) -> Option<String>, links: &[String]) -> Option<Change> {
    let links = || links.iter().map(String::as_str);
    let own = links().chain(["default"]).map(|link| format!("net/ipv6/conf/{link}/forwarding"));
    let heard = links().filter(|link| *link != "lo").map(|link| format!("net/ipv6/conf/{link}/accept_ra"));
    let value = |name: String| read(&name).map(|value| (name, value));
    let heard = heard.filter_map(value).filter(|(_, value)| value == "1");
    let along = own.filter_map(value).chain(heard).collect();
    let only_if = read(DEFAULT6).map(|value| (DEFAULT6.to_owned(), value)).into_iter().collect();
    set(read, ALL6, "1", only_if, along)
}

fn set(
    read: &dyn Fn(&str) -> Option<String>,
    name: &str,
    after: &str,
    only_if: Vec<(String, String)>,
    along: Vec<(String, String)>,
) -> Option<Change> {
    let before = read(name).filter(|before| before != after)?;
    Some(Change::Sysctl { name: name.to_owned(), before, after: after.to_owned(), along, only_if })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn planned(settings: &[(&str, &str)], v6: bool) -> Vec<String> {
        let settings: BTreeMap<_, _> = settings.iter().copied().collect();
        let read = |name: &str| settings.get(name).map(|value| (*value).to_owned());
        let links = ["lo", "eth0", "eth1"].map(str::to_owned);
        let changes = plan(&read, &links, &BTreeSet::from(["eth0".to_owned()]), v6);
        let text = |change: &Change| match change {
            Change::Sysctl { name, before, after, along, .. } => format!("{name} {before}->{after} +{}", along.len()),
            other => other.to_string(),
        };
        changes.iter().map(text).collect()
    }

    #[test]
    fn each_link_has_its_own_setting_where_the_kernel_knows_one() {
        let old = [
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv4/conf/eth0/forwarding", "0"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv6/conf/eth0/forwarding", "0"),
            ("net/ipv6/conf/eth1/forwarding", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "1"),
            ("net/ipv6/conf/eth1/accept_ra", "0"),
        ];
        let new = [("net/ipv6/conf/all/force_forwarding", "0"), ("net/ipv6/conf/eth0/force_forwarding", "0")];
        let v4 = "net/ipv4/conf/eth0/forwarding 0->1 +0";
        assert_eq!(planned(&[&old[..], &new].concat(), true), [v4, "net/ipv6/conf/eth0/force_forwarding 0->1 +0"]);
        assert_eq!(
            planned(&old, true),
            [v4, "net/ipv6/conf/all/forwarding 0->1 +3"],
            "each link's value is noted, and that it hears routers"
        );
        assert_eq!(planned(&old, false), [v4]);
    }

    #[test]
    fn a_router_needs_nothing() {
        let router = [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/eth0/forwarding", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "1"),
        ];
        assert!(planned(&router, true).is_empty());
    }
}
