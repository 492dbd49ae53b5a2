//! Where we differ from a kube-apiserver without a kubelet on purpose, each with the reason.

/// Commands not compared: section, how the command begins, why.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("types", "kubectl create service nodeport other --tcp=80 --node-port=30007", "our error also names the owner"),
    (
        "types",
        "kubectl patch svc my-clusterip-service --type=json -p '[{\"op\":\"remove\"",
        "our error also names the operation",
    ),
    ("deployment", "kubectl apply -f my-app-as-printed.yaml", "our error also names the lines to add"),
    ("deployment", "kubectl get deploy my-app -o yaml", "status.terminatingReplicas, new in 1.36, is not counted"),
    ("namespaces", "kubectl delete -f ham-and-eggs.yaml", "our namespace is empty before kubectl gets to its Services"),
    ("namespaces", "kubectl get svc -A", "we bring cluster DNS, a bare kube-apiserver does not"),
    ("namespaces", "kubectl describe ns qa", "ResourceQuota and LimitRange are not kinds of ours"),
    (
        "write",
        "sed s/targetPort/targetport/ my-service.yaml | kubectl apply -f -",
        "the patch is shown as JSON, not as Go prints a map",
    ),
    ("write", "sed 's/port: 80/port: eighty/'", "the patch is shown as JSON, not as Go prints a map"),
    (
        "apply-server-side",
        "kubectl get svc my-service -o yaml --show",
        "our controllers own what they write under their names",
    ),
    ("apply-server-side", "kubectl get svc my-service -o jsonpath='{.metadata.m", "as above"),
    ("apply-server-side", "kubectl get deploy my-app -o jsonpath='{range .m", "as above"),
    (
        "workloads",
        "kubectl describe sts web",
        "Events of one second come in the order of their names, which end in hashes",
    ),
    ("workloads", "kubectl get controllerrevisions", "in the order of names, which end in hashes"),
    ("networking", "kubectl apply -f networking.yaml", "what is stored only is warned of"),
    ("networking", "kubectl get servicecidr", "a sandbox has two families"),
    ("networking", "kubectl get ip", "we bring cluster DNS, a bare kube-apiserver does not"),
    ("cluster", "kubectl api-versions", "groups that no Service needs are not served"),
    ("cluster", "kubectl api-resources", "kinds that no Service needs are not served"),
    ("cluster", "kubectl cluster-info", "we bring cluster DNS, a bare kube-apiserver does not"),
    ("cluster", "kubectl explain service.spec.type", "our schemas carry no values of enumerations"),
    ("cluster", "kubectl explain deploy.spec.strategy", "our schemas carry no values of enumerations"),
    (
        "cluster",
        "kubectl describe svc kubernetes",
        "the recorded API server listened elsewhere and announced itself nowhere",
    ),
    ("cluster", "kubectl get lease", "the recorded cluster had no kubelet"),
];

/// Why a command is not compared; none if it is.
pub(crate) fn exception(section: &str, command: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(of, begins, _)| *of == section && command.starts_with(begins)).map(|(_, _, why)| *why)
}

/// A text without what Kubernetes does not have: lines of diagnoses, and in YAML or JSON the condition `Programmed`.
pub(crate) fn without_programmed(text: &str) -> String {
    // Diagnoses (Warnings of a write, Events) carry a code; Kubernetes has none.
    let diagnosed = |line: &&str| {
        line.split("MS")
            .skip(1)
            .any(|rest| rest.get(..4).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit())))
    };
    let mut lines: Vec<&str> = text.lines().filter(|line| !diagnosed(line)).collect();
    // A list of Events that held nothing else is no list.
    if let Some(start) = lines.iter().position(|line| *line == "Events:")
        && lines.get(start + 2).is_some_and(|line| line.starts_with("  ----"))
        && lines.get(start + 3).is_none_or(|line| !line.starts_with("  "))
    {
        lines.splice(start..start + 3, ["Events:  <none>"]);
    }
    while let Some(end) =
        lines.iter().position(|line| line.contains("type: Programmed") || line.contains("\"Programmed\""))
    {
        let json = lines[end].contains('"');
        let start = lines[..end].iter().rposition(|line| line.contains("astTransitionTime")).unwrap_or(end);
        let (mut start, mut end) = if json { (start.saturating_sub(1), end + 1) } else { (start, end) };
        if lines[start.saturating_sub(1)].contains("conditions") {
            start = start.saturating_sub(1);
            end += usize::from(json);
        }
        lines.drain(start..=end.min(lines.len().saturating_sub(1)));
    }
    lines.into_iter().fold(String::new(), |text, line| text + line + "\n")
}
