//! Who reaches whom: programs of the host, pods, the LAN, by address, Service and node port, in both families.

use rustix::process::Signal;

use super::world::{HOST, LAN, World, host_of};
use crate::sandbox::text;

const MANIFEST: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: mainstay/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ports}
spec: {type: NodePort, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers:
  - {name: main, image: mainstay/client, volumeMounts: [{name: data, mountPath: /srv/data}]}
  volumes: [{name: data, hostPath: {path: DIRECTORY/shown, type: DirectoryOrCreate}}]
---
apiVersion: v1
kind: Pod
metadata: {name: on-host}
spec: {hostNetwork: true, containers: [{name: main, image: mainstay/client}]}
---
apiVersion: v1
kind: Service
metadata: {name: host-program}
spec: {ports: [{port: 80, targetPort: 9100}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: host-program-a, labels: {kubernetes.io/service-name: host-program}}
ports: [{port: 9100}]
endpoints: [{addresses: [192.168.77.10]}]
---
apiVersion: v1
kind: Service
metadata: {name: lan-program}
spec: {ports: [{port: 80, targetPort: 9000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: lan-program-a, labels: {kubernetes.io/service-name: lan-program}}
ports: [{port: 9000}]
endpoints: [{addresses: [192.168.77.1]}]
";

fn started() -> World {
    let mut world = World::new();
    world.echo_in_lan(9000);
    world.echo_on_host(9100);
    world.up(&[]);
    world.apply(&MANIFEST.replace("DIRECTORY", &world.path().display().to_string()));
    world.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    world.kubectl_ok(&["wait", "--for=condition=Ready", "pod/client", "pod/on-host", "--timeout=60s"]);
    world.kubectl_ok(&["wait", "--for=condition=Programmed", "service", "--all", "--timeout=60s"]);
    world
}

fn addresses_of(world: &World, service: &str) -> Vec<String> {
    let all = world.kubectl_ok(&["get", "service", service, "-o", "jsonpath={.spec.clusterIPs[*]}"]);
    all.split(' ').map(str::to_owned).collect()
}

/// Programs of the host and of pods reach Services and one another.
fn inside(world: &World) {
    let addresses = addresses_of(world, "web");
    assert_eq!(addresses.len(), 2);
    for address in &addresses {
        let url = format!("http://{}/", host_of(address));
        assert!(world.answer(&world.host, &url).contains("web-"), "the host's programs reach {url}");
        assert!(world.answer_to_pod(&url).contains("web-"), "pods reach {url}");
    }
    assert!(world.answer_to_pod("http://web/").contains("web-"), "by name");
    let by_name = world.mainstay(&["exec", "--", "curl", "-sS", "--max-time", "5", "http://web.default/"]).output();
    let by_name = by_name.expect("mainstay exec runs");
    assert!(by_name.status.success(), "mainstay exec resolves names: {}", text(&by_name));
    let pod = world.kubectl_ok(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].status.podIP}"]);
    assert!(
        world.answer(&world.host, &format!("http://{pod}:8080/")).contains("10.244.0.1"),
        "a host program is the node"
    );
    for host in HOST {
        world.answer_to_pod(&format!("http://{}:9100/", host_of(host)));
    }
    let to_host = format!("http://{}/", addresses_of(world, "host-program")[0]);
    world.answer(&world.host, &to_host);
    world.answer_to_pod(&to_host);
}

/// Pods go out under the host's address, also through a Service.
fn outwards(world: &World) {
    for (lan, host) in LAN.into_iter().zip(HOST) {
        let seen = world.answer_to_pod(&format!("http://{}:9000/", host_of(lan)));
        assert!(seen.contains(host), "{lan} must see {host}: {seen}");
    }
    let seen = world.answer_to_pod(&format!("http://{}/", addresses_of(world, "lan-program")[0]));
    assert!(seen.contains(HOST[0]), "through a Service as well: {seen}");
    let seen = world.answer(&world.host, &format!("http://{}/", addresses_of(world, "lan-program")[0]));
    assert!(seen.contains(HOST[0]), "and for the host's own programs: {seen}");
}

/// The LAN reaches node ports on the host's addresses.
fn inwards(world: &World) {
    for host in HOST {
        let url = format!("http://{}:30080/", host_of(host));
        assert!(world.answer(&world.lan, &url).contains("web-"), "the LAN reaches {url}");
        assert!(world.answer(&world.host, &url).contains("web-"), "the host reaches {url}");
        assert!(world.answer_to_pod(&url).contains("web-"), "pods reach {url}");
    }
}

/// What objects say about the node.
fn told(world: &World) {
    let all = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    assert_eq!(world.kubectl_ok(&["get", "nodes", "-o", all]), HOST.join(" "));
    let ips = "jsonpath={.status.hostIP} {.status.podIPs[*].ip}";
    assert_eq!(world.kubectl_ok(&["get", "pod", "on-host", "-o", ips]), format!("{0} {0} {1}", HOST[0], HOST[1]));
    let secret = world.kubectl(&["exec", "on-host", "--", "cat", "/etc/shadow"]);
    let text = String::from_utf8_lossy(&secret.stderr).into_owned();
    assert!(
        secret.stdout.is_empty() && text.contains("Permission denied"),
        "the host's network is not its files: {text}"
    );
    // Pods have a user of their own.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(world.path().join("shown"), open).expect("the directory can be opened");
    std::fs::write(world.path().join("shown/word"), "from the host").expect("the volume's directory is there");
    assert_eq!(world.kubectl_ok(&["exec", "client", "--", "cat", "/srv/data/word"]), "from the host");
    world.kubectl_ok(&["exec", "client", "--", "sh", "-c", "echo from the pod > /srv/data/answer"]);
    let answer = std::fs::read_to_string(world.path().join("shown/answer")).expect("the pod's file");
    assert_eq!(answer, "from the pod\n");
}

#[test]
fn the_host_its_pods_and_its_lan_reach_one_another() {
    let world = started();
    inside(&world);
    outwards(&world);
    inwards(&world);
    told(&world);
    // CVE-2020-8558: what listens on 127.0.0.1 must not be reachable from the LAN.
    let settings = world.host.script("cat /proc/sys/net/ipv4/conf/*/route_localnet");
    assert!(settings.lines().all(|value| value == "0"), "{settings}");
}

/// Pods and Services go on without a server; the next one takes over and writes nothing.
#[test]
fn a_stopped_server_leaves_the_data_path_and_the_next_one_writes_nothing() {
    let mut world = started();
    let before = world.look();
    let url = format!("http://{}/", addresses_of(&world, "web")[0]);
    world.answer(&world.host, &url);
    for signal in [Signal::TERM, Signal::KILL] {
        world.stop(signal);
        assert!(signal == Signal::KILL || world.log().contains("pods and Services go on"), "{}", world.log());
        for _ in 0..10 {
            assert!(world.curl(&world.host, &url).status.success(), "{url} answers without a server");
        }
        let node_port = format!("http://{}:30080/", HOST[0]);
        assert!(world.curl(&world.lan, &node_port).status.success(), "{node_port} answers without a server");
        world.up(&[]);
        world.kubectl_ok(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
        let revision = world.status("revision");
        world.until("everything is applied", |world| world.status("applied") >= revision);
        assert_eq!(world.status("netlinkWrites"), 0, "nothing changed, so nothing is written to the kernel");
        let after = world.look().changes_since(&before);
        assert!(after.is_empty(), "the host is as the first server made it: {after:#?}");
        assert!(world.curl(&world.host, &url).status.success());
    }
}
