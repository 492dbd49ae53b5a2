"""kr8s against a sandbox: prints "ok PART" for each part that worked."""
import asyncio
import json

import httpx
import kr8s
import kr8s.asyncio
from kr8s.objects import ConfigMap, Pod, Service

MANIFEST = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"made-by": "kr8s"}},
            "spec": {"selector": {"app": "echo"}, "ports": [{"port": 80, "targetPort": 8080}]}}


def ok(part):
    print("ok", part, flush=True)


service = Service(MANIFEST)
service.create()
assert service.spec.clusterIP, service.raw
ok("create")

assert [found.name for found in kr8s.get("services", label_selector={"made-by": "kr8s"})] == ["web"]
assert any(node.name for node in kr8s.get("nodes"))
ok("list")

service.label(round="1")
for kind, found in kr8s.watch("services", label_selector={"made-by": "kr8s"}):
    assert kind in ("ADDED", "MODIFIED"), kind
    if found.labels.get("round") == "1":
        break
ok("watch")

service.patch({"spec": {"sessionAffinity": "ClientIP"}})
service.refresh()
assert service.spec.sessionAffinityConfig.clientIP.timeoutSeconds == 10800, service.raw
service.patch([{"op": "remove", "path": "/metadata/labels/round"}], type="json")
assert "round" not in service.labels
ok("patch")

async def apply():
    """kr8s has no server-side apply of its own; its session can send one."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}}
    api = await kr8s.asyncio.api()
    async with api.call_api("PATCH", base="/api", version="v1", namespace="default", url="configmaps/applied",
                            params={"fieldManager": "kr8s"}, content=json.dumps(manifest),
                            headers={"Content-Type": "application/apply-patch+yaml"}) as response:
        return response.json()["metadata"]["managedFields"][0]["manager"]


assert asyncio.run(apply()) == "kr8s"
assert ConfigMap.get("applied").raw["data"] == {"a": "1"}
ok("apply")

pod = Pod.get("echo")
assert pod.ready()
list(pod.logs(tail_lines=5))
ok("logs")

done = pod.exec(["echo", "hello", "there"])
assert (done.stdout, done.returncode) == (b"hello there\n", 0), done
failed = pod.exec(["cat", "/nothing"], check=False)
assert failed.returncode != 0 and failed.stderr, failed
ok("exec")

with pod.portforward(8080) as port:
    for _ in range(5):
        answer = httpx.get(f"http://127.0.0.1:{port}/")
        assert answer.status_code == 200 and answer.text, answer
ok("port-forward")

service.delete()
service.wait("delete", timeout=30)
assert not service.exists()
ok("delete")
