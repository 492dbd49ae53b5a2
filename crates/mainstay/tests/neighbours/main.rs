//! Real neighbours on hosts of their own: Docker, podman's networks, ufw, firewalld, nftables, iptables of both kinds, a
//! VPN's rules, a kube-proxy's. Each is detected, its harm is real, the printed lines mend it, and nothing of them stays.
//!
//! Needs root and Debian's docker.io, ufw, firewalld, dbus-daemon, iptables, nftables, iproute2, curl.

mod hosted;
mod owners;
mod rules;
mod world;
