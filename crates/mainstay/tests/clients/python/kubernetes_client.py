"""The official Python client against a sandbox: prints "ok PART" for each part that worked."""
import http.client
import socket

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
NAMESPACE = "default"


def ok(part):
    print("ok", part, flush=True)


service = client.V1Service(
    metadata=client.V1ObjectMeta(name="web", labels={"made-by": "python"}),
    spec=client.V1ServiceSpec(selector={"app": "echo"}, ports=[client.V1ServicePort(port=80, target_port=8080)]),
)
made = core.create_namespaced_service(NAMESPACE, service)
assert made.spec.cluster_ip and made.spec.ports[0].protocol == "TCP", made
try:
    core.create_namespaced_service(NAMESPACE, service)
    raise AssertionError("a second create must fail")
except ApiException as error:
    assert error.status == 409 and "already exists" in error.body, error
ok("create")

listed = core.list_namespaced_service(NAMESPACE, label_selector="made-by=python")
assert [item.metadata.name for item in listed.items] == ["web"], listed
names, token = [], None
while True:
    page = core.list_service_for_all_namespaces(limit=1, _continue=token)
    names += [item.metadata.name for item in page.items]
    token = page.metadata._continue
    if not token:
        break
assert {"kubernetes", "kube-dns", "web"} <= set(names), names
ok("list")

watcher, seen = watch.Watch(), []
core.patch_namespaced_service("web", NAMESPACE, {"metadata": {"annotations": {"round": "1"}}})
for event in watcher.stream(core.list_namespaced_service, NAMESPACE, resource_version=listed.metadata.resource_version, timeout_seconds=30):
    seen.append((event["type"], event["object"].metadata.annotations))
    if (event["object"].metadata.annotations or {}).get("round") == "1":
        watcher.stop()
assert seen[-1][0] == "MODIFIED", seen
ok("watch")

patched = core.patch_namespaced_service("web", NAMESPACE, {"spec": {"ports": [{"port": 80, "targetPort": 8080, "name": "http"}]}})
assert [port.name for port in patched.spec.ports] == ["http"], patched
patched = core.patch_namespaced_service("web", NAMESPACE, [{"op": "add", "path": "/metadata/labels/round", "value": "2"}])
assert patched.metadata.labels["round"] == "2", patched
ok("patch")

applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
core.patch_namespaced_config_map(
    "applied", NAMESPACE, applied, field_manager="python", _content_type="application/apply-patch+yaml"
)
assert core.read_namespaced_config_map("applied", NAMESPACE).metadata.managed_fields[0].manager == "python"
ok("apply")

text = core.read_namespaced_pod_log("echo", NAMESPACE)
assert isinstance(text, str), text
ok("logs")

answer = stream(core.connect_get_namespaced_pod_exec, "echo", NAMESPACE, command=["echo", "hello", "there"],
                stdin=False, stdout=True, stderr=True, tty=False)
assert answer == "hello there\n", repr(answer)
session = stream(core.connect_get_namespaced_pod_exec, "echo", NAMESPACE, command=["cat"], stdin=True, stdout=True,
                 stderr=True, tty=False, _preload_content=False)
session.write_stdin("line\n")
assert session.readline_stdout(timeout=30) == "line"
session.close()
ok("exec")

forward = portforward(core.connect_get_namespaced_pod_portforward, "echo", NAMESPACE, ports="8080")


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = forward.socket(8080)
        self.sock.setblocking(True)


connection = Connection("echo", 8080)
connection.request("GET", "/")
response = connection.getresponse()
assert response.status == 200 and response.read(), response.status
assert forward.error(8080) is None, forward.error(8080)
ok("port-forward")

core.delete_namespaced_service("web", NAMESPACE)
core.delete_collection_namespaced_config_map(NAMESPACE, field_selector="metadata.name=applied")
try:
    core.read_namespaced_service("web", NAMESPACE)
    raise AssertionError("web must be gone")
except ApiException as error:
    assert error.status == 404, error
ok("delete")
