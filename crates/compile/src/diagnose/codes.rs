//! The table of codes: what each means, how it is found and how it is mended. Numbers never change their meaning.

/// A step on a packet's way, in the order in which `explain` goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The name is answered with the right address.
    Dns,
    /// The node has programmed the address.
    Vip,
    /// No policy is in the way.
    Policy,
    /// The selector matches pods.
    Select,
    /// The pods listen where the Service sends.
    Ports,
    /// The pods are ready.
    Ready,
    /// There are endpoints, and traffic can reach them.
    Endpoints,
    /// Local policies leave an endpoint.
    Local,
    /// The load balancer has an address.
    LoadBalancer,
    /// Nothing is in the way; these are remarks.
    Remarks,
    /// The host itself, before any Service.
    Host,
}

impl Step {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Vip => "VIP",
            Self::Policy => "POLICY",
            Self::Select => "SELECT",
            Self::Ports => "PORTS",
            Self::Ready => "READY",
            Self::Endpoints => "ENDPOINTS",
            Self::Local => "LOCAL",
            Self::LoadBalancer => "LB",
            Self::Remarks => "NOTE",
            Self::Host => "HOST",
        }
    }
}

/// One code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `MS1001`.
    pub id: &'static str,
    /// The word of the column PROBLEM and the reason of Events.
    pub word: &'static str,
    /// Step it belongs to.
    pub step: Step,
    /// Whether a client is warned of it when it writes.
    pub at_write: bool,
    /// In a few words.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// How it is found.
    pub found: &'static str,
    /// How it is mended.
    pub mend: &'static str,
}

impl Code {
    /// What `mainstay explain CODE` prints.
    pub fn text(&self) -> String {
        let Self { id, word, title, meaning, found, mend, .. } = self;
        let shown = match self.step {
            Step::Host => "by `mainstay up --host` before it starts anything, and by `mainstay doctor host`".to_owned(),
            _ => format!("as {word} in the column PROBLEM of `kubectl get svc -o wide` and as the reason of Events"),
        };
        format!(
            "{id}  {title}\n\nWhat it means:  {meaning}\nHow it is found: {found}\nHow to mend it:  {mend}\n\nStep {}; shown {shown}.\n",
            self.step.name()
        )
    }
}

macro_rules! codes {
    ($list:ident $about:literal $seen:vis $($id:ident $word:literal $step:ident $at_write:literal $title:literal $meaning:literal $found:literal $mend:literal)*) => {
        $(
            #[doc = $title]
            $seen static $id: Code = Code {
                id: stringify!($id), word: $word, step: Step::$step, at_write: $at_write,
                title: $title, meaning: $meaning, found: $found, mend: $mend,
            };
        )*
        #[doc = $about]
        pub static $list: &[&Code] = &[$(&$id),*];
    };
}
pub(super) use codes;

codes! {
    CODES "Every code of Services, pods and slices, in order." pub(super)

    MS1001 "SelectorNoMatch" Select true
    "the selector matches no pod"
    "No pod of the Service's namespace carries all labels of spec.selector, so the Service has no endpoint: connections to \
     its address are refused at once. A selector is an AND: every label must be there with exactly this value."
    "The labels of all pods of the namespace, and of the templates of Deployments, StatefulSets, DaemonSets and \
     ReplicaSets, are compared with the selector. When a template matches whose pods are only being started, nothing is said."
    "Compare `kubectl get svc NAME -o wide` with `kubectl get pods --show-labels`. Change the selector or the labels of the \
     pod template, or scale the workload up if it is at 0."

    MS1002 "SelectorNoMatch" Select true
    "the selector matches no pod, but nearly"
    "As MS1001, and some label set differs from the selector only a little: by a slip of the keys, by case or separators, by \
     another name of the same label (app, app.kubernetes.io/name), by a label that is missing. Or the right pods are in \
     another namespace, or the labels stand on the Deployment itself and not on its pod template."
    "Every label set of the namespace is compared with the selector pair by pair (edit distance, case, names that mean the \
     same); the nearest is named together with the workload and the number of pods. The selector is also tried in the other \
     namespaces."
    "Paste the fix that is printed: it changes the selector to the labels that are there. Change the pod template instead if \
     the selector is right."

    MS1003 "SelectorTooWide" Select false
    "the selector matches the pods of several workloads"
    "Pods of two or more workloads are behind one Service, so some requests reach another program than meant. Two versions \
     of one application behind one Service (a canary) are wanted as a rule and only noted."
    "The owners of all matched pods are compared, and their labels app, app.kubernetes.io/name, k8s-app and run."
    "Add to the selector a label by which the workloads differ."

    MS1004 "PortNotServed" Ports true
    "nobody serves the target port"
    "Traffic is sent to a port of the pods at which nothing answers: the targetPort is a name that no container declares, has \
     another protocol, is a number on which no process listens, or the process listens on loopback only."
    "Names are looked up in spec.containers[].ports of the matched pods. For numbers the listening sockets of each pod's \
     network namespace are read from the kernel."
    "Change spec.ports[].targetPort (or the protocol) to what the pods declare and listen on. A process that listens on \
     127.0.0.1 must listen on 0.0.0.0 or ::."

    MS1005 "SliceNotJoined" Endpoints true
    "an EndpointSlice joins no Service port"
    "A slice that was made by hand is not used: its label kubernetes.io/service-name is missing, misspelt or names a Service \
     that does not exist, or its port name is not the name of a Service port. An unnamed Service port is joined only by an \
     unnamed slice port."
    "The label and each port's name and protocol are compared with the Services of the namespace."
    "Give the slice the label kubernetes.io/service-name, and its ports the names of the Service's ports (\"\" for an \
     unnamed one)."

    MS1006 "PodsNotReady" Ready false
    "matched pods are not ready"
    "Pods that are not ready get no traffic. If none is ready, connections to the Service are refused."
    "The condition Ready of each matched pod, the state of its containers and the message of its last failed probe."
    "`kubectl describe pod NAME` shows the probe and its last error; `kubectl logs NAME` what the program says. Correct the \
     probe's path and port or the program."

    MS1007 "BadEndpoint" Endpoints true
    "an endpoint is no place to send traffic to"
    "An endpoint of a hand-made slice is a loopback or link-local address, the address of a Service, or an address in the \
     Service range: nothing can answer there. A node's address works, but leads out of the pod network."
    "The class of each address, the addresses of all Services and nodes."
    "Use addresses of machines. To lead to another Service, use its name: type ExternalName, or its pods' addresses."

    MS1008 "NoEndpoints" Endpoints false
    "no selector and no slice"
    "A Service without selector gets its endpoints from EndpointSlices that others make, and nobody made one."
    "No slice carries kubernetes.io/service-name with the Service's name."
    "Give the Service a selector, or create an EndpointSlice with that label; the printed fix is one to start from."

    MS1009 "HeadlessPort" Remarks false
    "a headless Service does not translate ports"
    "A headless Service (clusterIP: None) has no address of its own: its name leads to the pods themselves. Nothing turns \
     `port` into `targetPort`, so clients must use the pods' port."
    "spec.clusterIP is None and some port differs from its targetPort."
    "Make port and targetPort the same number."

    MS1102 "NoLocalEndpoint" Local true
    "a Local traffic policy and no local endpoint"
    "With internalTrafficPolicy or externalTrafficPolicy Local, a node uses only its own endpoints and drops what arrives when \
     it has none, though other nodes have some."
    "Ready endpoints are counted per node. Endpoints of hand-made slices without nodeName are local to no node."
    "Use Cluster, run a pod on every node (a DaemonSet), or set nodeName in the slice."

    MS1105 "NodePortTaken" Vip true
    "a process of the node listens on the node port"
    "The Service takes the traffic of that port, and the process gets none from outside any more."
    "Listening sockets of the node, read from the kernel."
    "Give nodePort another number (left out, it stays), or move the process."

    MS1202 "NotProgrammed" Vip false
    "the last change is not applied yet"
    "A sink of the node (nftables, DNS) has not confirmed the revision of the Service's last change. Normal for a few \
     milliseconds; if it lasts, the sink has a problem."
    "The Service's resourceVersion against the smallest revision that every sink has confirmed."
    "`mainstay status` names the sink and its last problem; `kubectl wait --for=condition=Programmed svc/NAME` waits."

    MS1203 "Skew" Remarks false
    "shares are uneven by design"
    "ClientIP affinity keeps a client on one pod, and trafficDistribution prefers near ones: shares follow the clients, not \
     the number of pods. Long-lived connections stay where they were opened, too."
    "spec.sessionAffinity and spec.trafficDistribution."
    "Switch them off if even shares matter more."

    MS1302 "DnsMismatch" Dns false
    "DNS answers something else than the Service has"
    "Clients that look the name up get another address than the Service's."
    "The answer of the name server against spec.clusterIPs."
    "Restart the name server: kubectl delete pod -n kube-system -l k8s-app=kube-dns (answers keep flowing meanwhile)."

    MS1303 "BadAlias" Dns true
    "an ExternalName leads nowhere"
    "externalName is answered as a DNS alias (CNAME). An IP address there is taken for a host name that no resolver finds, and \
     a name inside the cluster must belong to a Service."
    "externalName is parsed as an address, and looked up among the Services if it ends in the cluster domain."
    "Use a host name. For an address, make the Service headless without selector and give it an EndpointSlice."

    MS1401 "Exposed" Remarks false
    "reachable from everywhere"
    "Whoever reaches a node (NodePort) or the load-balancer address reaches the pods; no source range limits it."
    "spec.type and spec.loadBalancerSourceRanges."
    "Set spec.loadBalancerSourceRanges, or use ClusterIP if only pods need the Service."

    MS1501 "NoAddress" LoadBalancer true
    "the load balancer has no address"
    "EXTERNAL-IP stays <pending>: there is no pool, the pools are used up or have no address of that family, or the class \
     belongs to another implementation."
    "The same decision that gives addresses is made once more; its words are shown."
    "Start the instance with --lb-pool RANGE, free an address, or leave spec.loadBalancerClass out."

    MS1601 "RolloutRisk" Remarks false
    "the next rollout may lose requests, or waits for nothing"
    "Without readinessProbe a new pod gets traffic before its program listens. A preStop hook that only sleeps is not needed \
     here: SIGTERM is held until no node sends new connections to the pod."
    "Probes and hooks of the matched pods' containers."
    "Add a readinessProbe; remove the sleep."
}

/// The code of this number, in any case.
pub fn by_id(id: &str) -> Option<&'static Code> {
    let all = CODES.iter().chain(super::host_codes::HOST_CODES);
    all.copied().find(|code| code.id.eq_ignore_ascii_case(id))
}
