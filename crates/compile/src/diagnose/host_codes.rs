//! The codes of what else lives on a host: each neighbour that can eat our packets, how it is found and mended.

use super::codes::{Code, Step, codes};

codes! {
    HOST_CODES "Every code of a host's neighbours, in order." pub

    MS2001 "Docker" Host false
    "Docker drops packets that this host forwards"
    "dockerd sets the policy of the chain FORWARD to DROP, so that only its own containers' packets pass. Packets between pods, \
     from pods to other machines, and from the network to node ports are forwarded, too, and end there."
    "A packet is sent from a throw-away namespace like a pod's, and the kernel is asked which rule or policy dropped it; the table \
     has Docker's chains."
    "Accept the pod range in DOCKER-USER, the chain that Docker leaves to the administrator and keeps over its own restarts; the \
     printed lines do, and `mainstay up --host --fix-forward` makes them and takes them back."

    MS2002 "Ufw" Host false
    "ufw drops packets of pods"
    "ufw denies what comes in and disables routing unless told otherwise. Pods then reach neither the cluster DNS and the API \
     (INPUT) nor one another (FORWARD)."
    "A packet from a throw-away namespace was dropped in one of ufw's chains, or by the policy of a chain that ufw manages."
    "The printed `ufw` lines allow the pod range; ufw keeps them over reload and reboot. `mainstay up --host --fix-forward` makes \
     them, and `mainstay down` deletes them."

    MS2003 "Firewalld" Host false
    "firewalld rejects packets of pods"
    "Pods' links are in no zone of their own, so the default zone applies: it rejects what is forwarded and most of what comes in."
    "A packet from a throw-away namespace was rejected in a chain of firewalld."
    "Put the pod range into the zone trusted, now and permanently: the printed lines. `mainstay up --host --fix-forward` makes \
     them, and `mainstay down` removes them."

    MS2004 "Iptables" Host false
    "iptables rules drop packets of pods"
    "A rule or a policy of iptables, of no program that we know, drops what pods need."
    "A packet from a throw-away namespace was dropped there; with iptables-legacy, of which the kernel tells nothing, by looking at \
     its saved rules when a packet vanished."
    "The printed `iptables -I` lines, which `mainstay up --host --fix-forward` makes and takes back. Put them into your own script, \
     too, if it writes all rules anew."

    MS2005 "Nftables" Host false
    "a table of nftables drops packets of pods"
    "A chain of another table drops what pods need. In nftables a drop is final whatever other tables say, so the packet must be \
     accepted in that table itself."
    "A packet from a throw-away namespace was dropped; the kernel told in which table, chain and rule."
    "The printed `nft insert rule` lines. Put them into /etc/nftables.conf, too: loading it again drops the ones that were inserted. \
     `mainstay up --host --fix-forward` makes them, and makes them again when they are lost."

    MS2006 "Routes" Host false
    "a policy rule leads cluster addresses elsewhere"
    "A routing rule that is asked before the main table, as VPN programs make them, looks into a table with a route that covers the \
     pod or Service range: packets for pods leave through that link."
    "The host's policy rules and routing tables are read in the order in which the kernel asks them."
    "Let cluster ranges look into the main table first: the printed `ip rule` lines; or choose other ranges: --pod-cidr, \
     --service-cidr."

    MS2007 "KubeProxy" Host false
    "another kube-proxy serves the same Service addresses"
    "kube-proxy, or what it left behind, has rules for addresses in our Service range: it takes their packets or refuses the ones \
     that it does not know."
    "Chains named KUBE-SERVICES or a table kube-proxy, and the Service addresses in their rules and sets."
    "Choose another range: --service-cidr. If kube-proxy is gone and only its rules are left: kube-proxy --cleanup, or reboot."

    MS2008 "Vanished" Host false
    "packets of pods vanish"
    "A packet from a throw-away namespace did not arrive, and no rule of nf_tables dropped it."
    "Neither a drop nor an arrival was seen. Usual causes: strict reverse path filtering (rp_filter) with several uplinks, \
     rules of iptables-legacy, a BPF program on the interfaces."
    "Look at the printed settings. `sysctl -w net.ipv4.conf.all.rp_filter=2` makes reverse path filtering loose."

    MS2009 "Marks" Host false
    "a VPN or another network uses packet marks"
    "Routing rules ask for packet marks (WireGuard, Tailscale, Cilium, Calico). Mainstay never reads or writes the packet mark, so \
     they do not meet."
    "The host's policy rules; the marks are compared with those that known programs use."
    "Nothing is to be done."

    MS2010 "Containers" Host false
    "another container engine has networks here"
    "Networks of Docker, podman or libvirt are on this host. They do not meet as long as their ranges and ours differ."
    "Interfaces named docker0, br-..., podman..., cni..., virbr... and their routes."
    "Nothing is to be done; if a range overlaps: --pod-cidr, --service-cidr."

    MS2011 "Resolver" Host false
    "the host resolves names through a local stub"
    "/etc/resolv.conf names a resolver on this host itself, such as systemd-resolved at 127.0.0.53. The cluster DNS asks it and pods \
     are not told of it; if it in turn asks the cluster DNS for every name, the two would ask each other for ever."
    "/etc/resolv.conf, and the list of real resolvers that systemd-resolved keeps in /run/systemd/resolve/resolv.conf."
    "Nothing is to be done. For cluster names on the host itself, give systemd-resolved the cluster DNS for the cluster domain only; \
     `mainstay doctor host` prints the lines."

    MS2012 "Mainstay" Host false
    "another Mainstay has its table here"
    "The table inet mainstay is of another instance or was left by one: there is one per network namespace."
    "The table is there, and no change of this data directory made it."
    "Stop the other one: mainstay down --data-dir DIR."

    MS2013 "NodePorts" Host false
    "another kube-proxy has node ports"
    "kube-proxy, or what it left, may take the same node ports of this host."
    "Chains named KUBE-NODEPORTS or a table kube-proxy."
    "Give Services other ports in spec.ports[].nodePort, or stop the other kube-proxy."
}
