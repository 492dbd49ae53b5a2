//! Networking and cluster kinds as people meet them: applied, listed, described, warned about, refused.

use super::has;
use super::server::Cluster;

const MANIFEST: &str = "\
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx, annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}}
spec: {controller: k8s.io/ingress-nginx, parameters: {apiGroup: k8s.example.org, kind: Settings, name: main}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  defaultBackend: {service: {name: ham, port: {name: http}}}
  tls: [{hosts: [a.example], secretName: cert}]
  rules:
  - host: a.example
    http:
      paths:
      - {path: /api, pathType: Prefix, backend: {service: {name: ham, port: {number: 80}}}}
      - {path: /old, pathType: Exact, backend: {service: {name: nobody, port: {number: 81}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec:
  podSelector: {matchLabels: {app: ham}}
  ingress:
  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {podSelector: {matchLabels: {role: front}}}]
    ports: [{port: 80, endPort: 90}]
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: gvisor}
handler: runsc
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
description: matters
";

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: ham}
spec: {clusterIP: 10.96.0.77, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ham-1, labels: {kubernetes.io/service-name: ham}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.9]}]
ports: [{name: http, port: 8080}]
";

/// The rows of a listing without what differs between runs: each cell, blanks between them.
fn rows(listing: &str) -> Vec<Vec<&str>> {
    listing.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingresses_policies_and_classes_are_applied_listed_and_described() {
    let cluster = Cluster::start().await;
    let file = cluster.file("service.yaml", SERVICE);
    cluster.kubectl(&format!("apply -f {}", file.display())).await;
    let file = cluster.file("all.yaml", MANIFEST);
    let apply = format!("apply -f {}", file.display());
    let applied = cluster.kubectl(&apply).await;
    has(
        &applied,
        &[
            "ingress.networking.k8s.io/web created",
            "networkpolicy.networking.k8s.io/deny created",
            "Warning: an Ingress is stored but not served yet",
            "Warning: a NetworkPolicy is stored but not enforced yet",
            "Warning: a RuntimeClass is stored but its handler is not used",
        ],
    );
    assert_eq!(applied.matches("Warning:").count(), 3, "{applied}");
    has(
        &cluster.kubectl(&apply).await,
        &["ingress.networking.k8s.io/web unchanged", "priorityclass.scheduling.k8s.io/high unchanged"],
    );
    listed(&cluster).await;
    described(&cluster).await;
}

async fn listed(cluster: &Cluster) {
    let table = [
        ("ing", "NAME CLASS HOSTS ADDRESS PORTS AGE", "web nginx a.example 80, 443"),
        (
            "ingressclass",
            "NAME CONTROLLER PARAMETERS AGE",
            "nginx (default) k8s.io/ingress-nginx Settings.k8s.example.org/main",
        ),
        ("netpol", "NAME POD-SELECTOR AGE", "deny app=ham"),
        ("runtimeclass", "NAME HANDLER AGE", "gvisor runsc"),
        ("pc high", "NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY", "high 1000 false"),
    ];
    for (kind, head, row) in table {
        let listing = cluster.kubectl(&format!("get {kind} -o wide")).await;
        let rows = rows(&listing);
        assert_eq!(rows[0].join(" "), head);
        assert!(rows[1].join(" ").starts_with(row), "{listing}");
    }
    has(&cluster.kubectl("explain ingress.spec.rules.http.paths.pathType").await, &["pathType", "<string>"]);
}

async fn described(cluster: &Cluster) {
    let described = cluster.kubectl("describe ingress web").await;
    has(
        &described,
        &[
            "Default backend:",
            "ham:http (10.244.0.9:8080)",
            "cert terminates a.example",
            "/api",
            "ham:80 (10.244.0.9:8080)",
        ],
    );
    has(&described, &["/old", "nobody:81 (<error: services \"nobody\" not found>)"]);
    has(
        &cluster.kubectl("describe netpol deny").await,
        &["PodSelector:", "app=ham", "CIDR: 10.0.0.0/8", "Except: 10.1.0.0/16"],
    );
    has(&cluster.kubectl("describe ingressclass nginx").await, &["Controller:", "k8s.io/ingress-nginx", "main"]);
    has(&cluster.kubectl("describe pc high").await, &["Value:", "1000", "matters", "PreemptionPolicy:"]);
    has(&cluster.kubectl("describe runtimeclass gvisor").await, &["gvisor", "Handler", "runsc"]);
    has(
        &cluster.kubectl("get pc").await,
        &["system-cluster-critical", "2000000000", "system-node-critical", "2000001000"],
    );
    has(
        &cluster.refused("delete pc system-node-critical").await,
        &["this is a system priority class and cannot be deleted"],
    );
    has(
        &cluster.refused("run ham --image=mainstay/echo --overrides={\"spec\":{\"priorityClassName\":\"nope\"}}").await,
        &["pods \"ham\" is forbidden: no PriorityClass with name nope was found"],
    );
    has(
        &cluster.kubectl("api-resources").await,
        &["ingresses", "netpol", "servicecidrs", "ipaddresses", "priorityclasses", "runtimeclasses"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_and_addresses_of_services() {
    let cluster = Cluster::start().await;
    let networks = cluster.kubectl("get servicecidr").await;
    assert_eq!(rows(&networks)[0], ["NAME", "CIDRS", "AGE"]);
    assert_eq!(rows(&networks)[1][..2], ["kubernetes", "10.96.0.0/16,fd00:96::/112"]);
    let file = cluster.file("service.yaml", SERVICE);
    cluster.kubectl(&format!("apply -f {}", file.display())).await;
    assert_eq!(rows(&cluster.kubectl("get ip").await), [["NAME", "PARENTREF"], ["10.96.0.77", "services/default/ham"]]);
    // kubectl describes these two from 1.33 on; older ones ask for the version v1beta1, which is gone.
    has(&cluster.kubectl("get ip 10.96.0.77 -o yaml").await, &["ipallocator.k8s.io", "services", "ham"]);
    has(
        &cluster.kubectl("get servicecidr kubernetes -o yaml").await,
        &["10.96.0.0/16", "Ready", "Kubernetes Service CIDR is ready"],
    );
    let file = cluster.file("eggs.yaml", &SERVICE.replace("name: ham}", "name: eggs}"));
    has(
        &cluster.refused(&format!("create -f {}", file.display())).await,
        &["failed to allocate IP 10.96.0.77: provided IP is already allocated (by default/ham)"],
    );
    let more =
        "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\nspec: {cidrs: [10.97.0.0/24]}";
    let file = cluster.file("more.yaml", more);
    has(
        &cluster.kubectl(&format!("create -f {}", file.display())).await,
        &["servicecidr.networking.k8s.io/more created"],
    );
    has(&cluster.kubectl("create svc clusterip far --tcp=80 --clusterip=10.97.0.9").await, &["created"]);
    has(&cluster.kubectl("delete servicecidr more --wait=false").await, &["deleted"]);
    let reason = "get servicecidr more -o jsonpath={.status.conditions[0].status}/{.status.conditions[0].reason}";
    has(&cluster.kubectl(reason).await, &["False/Terminating"]);
    has(
        &cluster.refused("create svc clusterip late --tcp=80 --clusterip=10.97.0.10").await,
        &["does not match the current range"],
    );
    cluster.kubectl("delete svc far").await;
    has(&cluster.refused("get servicecidr more").await, &["NotFound"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_and_ingresses_from_the_command_line() {
    // These commands send protobuf.
    let cluster = Cluster::start().await;
    has(
        &cluster.kubectl("create priorityclass low --value=-7 --global-default=true --description=later").await,
        &["created"],
    );
    has(
        &cluster.kubectl("get pc low -o jsonpath={.value}/{.globalDefault}/{.description}/{.preemptionPolicy}").await,
        &["-7/true/later/PreemptLowerPriority"],
    );
    has(
        &cluster.refused("create priorityclass big --value=1000000001").await,
        &["maximum allowed value of a user defined priority is 1000000000"],
    );
    let create = "create ingress web --class=c --rule=a.example/x*=ham:http,tls=cert --default-backend=eggs:80";
    has(&cluster.kubectl(create).await, &["ingress.networking.k8s.io/web created", "Warning: an Ingress"]);
    let path = "{.spec.rules[0].http.paths[0].pathType}/{.spec.rules[0].http.paths[0].backend.service.port.name}/{.spec.tls[0].secretName}";
    has(&cluster.kubectl(&format!("get ing web -o jsonpath={path}")).await, &["Prefix/http/cert"]);
    let status = "patch ing web --subresource=status --type=merge -p {\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"192.0.2.7\"}]}}}";
    let patched = cluster.kubectl(status).await;
    assert!(!patched.contains("Warning"), "{patched}");
    has(&cluster.kubectl("get ing").await, &["192.0.2.7"]);
    assert_eq!(cluster.kubectl("get ing web -o jsonpath={.metadata.generation}").await, "1");
}
