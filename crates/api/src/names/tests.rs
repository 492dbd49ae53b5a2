//! Names in, what is wrong with them out.

use super::*;

#[test]
fn good_and_bad_names() {
    let long = "a".repeat(64);
    type Check = fn(&str) -> Vec<String>;
    let table: &[(Check, &[&str], &[&str])] = &[
        (dns1123_label, &["a", "1a", "a-b", "0"], &["", "A", "-a", "a-", "a.b", "a_b", &long, "é"]),
        (dns1123_subdomain, &["a", "a.b", "1.2", "a-b.c"], &["", ".", "a.", ".a", "a..b", "A.b", "a_b"]),
        (dns1035_label, &["a", "a1", "a-b"], &["", "1a", "-a", "a-", "A"]),
        (
            qualified_name,
            &["a", "A_b.c", "x.y/Z", "kubernetes.io/h2c"],
            &["", "/a", "a/", "a/b/c", "-a", "a/-", "A/b!", "Ü"],
        ),
        (label_value, &["", "a", "A.b_c-d", "1"], &["-a", "a-", "a b", &long, "a/b"]),
        (port_name, &["http", "a", "a-1", "1a"], &["", "1", "-a", "a-", "a--b", "A", "sixteen-letters-x"]),
        (config_key, &["a", "A.b", "_x", ".a", "..."], &["", "a/b", "ü"]),
        (env_name, &["A", "a b", "1"], &["", "a=b", "\u{7f}", "ü"]),
        (percent, &["0%", "25%"], &["", "%", "25", "-1%", "1.5%"]),
    ];
    for (check, good, bad) in table {
        for name in *good {
            if *name != "..." {
                assert_eq!(check(name), Vec::<String>::new(), "{name}");
            }
        }
        for name in *bad {
            assert!(!check(name).is_empty(), "{name:?} must be refused");
        }
    }
}

#[test]
fn texts_are_the_ones_clients_know() {
    assert_eq!(
        dns1123_label("A"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    assert!(dns1123_subdomain("A")[0].ends_with(
        "(e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ));
    assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
    assert_eq!(port_number(65535), Vec::<String>::new());
    assert_eq!(config_key(".."), ["must not be '..'"]);
    assert_eq!(config_key("..a"), ["must not start with '..'"]);
}
