#!/usr/bin/env python3
"""Plays the node for a kube-apiserver without a kubelet, while transcripts are recorded: makes the Node, binds pods, says
that they run, and ends those that are being deleted. Usage: player.py KUBECONFIG (stops when killed)."""
import itertools
import json
import subprocess
import sys
import time

NODE = "mainstay"
addresses = (f"10.244.0.{n}" for n in itertools.count(2))
given = {}


def kubectl(*arguments, document=None):
    command = ["kubectl", "--kubeconfig", sys.argv[1], *arguments]
    text = json.dumps(document) if document is not None else None
    return subprocess.run(command, input=text, capture_output=True, text=True)


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def make_node():
    kubectl("create", "-f", "-", document={"apiVersion": "v1", "kind": "Node", "metadata": {
        "name": NODE, "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}}})
    status = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready",
                              "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
              "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": NODE}],
              "nodeInfo": {"kubeletVersion": "v1.36.3"}}
    kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    kubectl("taint", "node", NODE, "node.kubernetes.io/not-ready-")


def running(pod):
    key = pod["metadata"]["uid"]
    address = given.setdefault(key, next(addresses))
    start = now()
    containers = [{"name": c["name"], "image": c["image"], "imageID": c["image"], "ready": True, "started": True,
                   "restartCount": 0, "state": {"running": {"startedAt": start}}} for c in pod["spec"]["containers"]]
    kinds = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    return {"status": {"phase": "Running", "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}], "podIP": address,
                       "podIPs": [{"ip": address}], "startTime": start, "containerStatuses": containers,
                       "conditions": [{"type": kind, "status": "True", "lastTransitionTime": start} for kind in kinds]}}


def step(pod):
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    if "deletionTimestamp" in pod["metadata"]:
        kubectl("delete", "pod", name, "-n", namespace, "--grace-period=0", "--force", "--wait=false")
    elif not pod["spec"].get("nodeName"):
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace},
                   "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}}
        kubectl("create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", "-f", "-", document=binding)
    elif pod.get("status", {}).get("phase") == "Pending":
        kubectl("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(running(pod)))


make_node()
while True:
    listed = kubectl("get", "pods", "-A", "-o", "json")
    for pod in json.loads(listed.stdout or '{"items": []}')["items"]:
        step(pod)
    time.sleep(0.2)
