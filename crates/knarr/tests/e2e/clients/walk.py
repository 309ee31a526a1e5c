"""What programs do with the Python client, against a real cluster. Every step checks what it got; prints `done` at the end."""

import base64
import json
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

NS = "python"
IMAGE = "knarr.io/demo:latest"


def refused(code, reason, call, *args, **more):
    try:
        call(*args, **more)
    except ApiException as error:
        status = json.loads(error.body)
        assert (error.status, status["reason"]) == (code, reason), error
        return status
    raise AssertionError(f"{call.__name__} was not refused")


def eventually(what, check, patience=60):
    end = time.monotonic() + patience
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, f"timed out: {what}"
        time.sleep(0.05)


def config_maps(core):
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one", labels={"app": "x"}), data={"a": "1", "b": "2"})
    made = core.create_namespaced_config_map(NS, body)
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo is not None
    refused(409, "AlreadyExists", core.create_namespaced_config_map, NS, body)
    patched = core.patch_namespaced_config_map("one", NS, {"data": {"a": None, "c": "3"}})
    assert patched.data == {"b": "2", "c": "3"}, patched.data
    patched = core.patch_namespaced_config_map("one", NS, [{"op": "add", "path": "/data/d", "value": "4"}])
    assert patched.data["d"] == "4"
    made.data["late"] = "yes"
    refused(409, "Conflict", core.replace_namespaced_config_map, "one", NS, made)
    refused(404, "NotFound", core.read_namespaced_config_map, "none", NS)
    body.metadata.name = "Not A Name"
    status = refused(422, "Invalid", core.create_namespaced_config_map, NS, body)
    assert [c["field"] for c in status["details"]["causes"]] == ["metadata.name"], status


def pages(core):
    for i in range(7):
        core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"page-{i}", labels={"page": "yes"})))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NS, label_selector="page in (yes)", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{i}" for i in range(7)], names
    core.delete_collection_namespaced_config_map(NS, label_selector="page")
    assert not core.list_namespaced_config_map(NS, label_selector="page").items


def watches(core):
    seen, since = [], core.list_namespaced_secret(NS).metadata.resource_version
    follow = watch.Watch()

    def look():
        for event in follow.stream(core.list_namespaced_secret, NS, resource_version=since, timeout_seconds=30):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                follow.stop()

    thread = threading.Thread(target=look)
    thread.start()
    core.create_namespaced_secret(NS, client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"k": "v"}))
    core.patch_namespaced_secret("s", NS, {"metadata": {"labels": {"l": "1"}}})
    assert base64.b64decode(core.read_namespaced_secret("s", NS).data["k"]) == b"v"
    core.delete_namespaced_secret("s", NS)
    thread.join(40)
    assert seen == [("ADDED", "s"), ("MODIFIED", "s"), ("DELETED", "s")], seen


def pods(core):
    container = client.V1Container(name="c", image=IMAGE, image_pull_policy="IfNotPresent", env=[client.V1EnvVar(name="WHO", value="py")])
    core.create_namespaced_pod(NS, client.V1Pod(metadata=client.V1ObjectMeta(name="p"), spec=client.V1PodSpec(containers=[container])))
    ready = lambda: any(c.type == "Ready" and c.status == "True" for c in core.read_namespaced_pod("p", NS).status.conditions or [])
    eventually("the pod is Ready", ready)
    talk = stream(core.connect_get_namespaced_pod_exec, "p", NS, command=["/demo", "cat"], stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
    talk.write_stdin("over and back\n")
    out = eventually("exec gives it back", lambda: talk.read_stdout(timeout=1))
    assert out == "over and back\n", out
    talk.close()
    failed = stream(core.connect_get_namespaced_pod_exec, "p", NS, command=["/demo", "fail", "3"], stdout=True, stderr=True, _preload_content=False)
    failed.run_forever(timeout=20)
    assert failed.returncode == 3, failed.returncode
    eventually("the log is there", lambda: core.read_namespaced_pod_log("p", NS) == "demo: p serves on port 8080\n")
    core.delete_namespaced_pod("p", NS)
    refused(404, "NotFound", lambda: eventually("the pod is gone", lambda: core.read_namespaced_pod("p", NS) and False))


def deployments(apps):
    spec = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NS},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}]},
            },
        },
    }
    utils.create_from_dict(apps.api_client, spec)
    eventually("two replicas are ready", lambda: apps.read_namespaced_deployment("web", NS).status.ready_replicas == 2)
    scale = apps.patch_namespaced_deployment_scale("web", NS, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1 and scale.kind == "Scale"
    eventually("one replica is left", lambda: apps.read_namespaced_deployment("web", NS).status.replicas == 1)
    apps.delete_namespaced_deployment("web", NS, propagation_policy="Foreground")
    gone = lambda: not apps.list_namespaced_deployment(NS).items and not apps.list_namespaced_replica_set(NS).items
    eventually("the Deployment and its ReplicaSets are gone", gone)


def applies(api):
    discovered = dynamic.DynamicClient(api)
    kind = discovered.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied", "namespace": NS}, "data": {"k": "a"}}
    kind.server_side_apply(body=body, name="applied", namespace=NS, field_manager="first")
    body["data"]["k"] = "b"
    refused(409, "Conflict", kind.server_side_apply, body=body, name="applied", namespace=NS, field_manager="second")
    taken = kind.server_side_apply(body=body, name="applied", namespace=NS, field_manager="second", force_conflicts=True)
    assert taken.data.k == "b" and {m.manager for m in taken.metadata.managedFields} == {"second"}, taken.metadata.managedFields


def identities(core, api):
    core.create_namespaced_service_account(NS, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", NS, request).status.token
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": f"Bearer {token}"}
    robot = client.ApiClient(settings)
    status = refused(403, "Forbidden", client.CoreV1Api(robot).list_namespaced_secret, NS)
    assert f"system:serviceaccount:{NS}:robot" in status["message"], status
    who = client.AuthenticationV1Api(robot).create_self_subject_review({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    assert who.status.user_info.username == f"system:serviceaccount:{NS}:robot"
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role(NS, {"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]})
    rbac.create_namespaced_role_binding(
        NS,
        {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": NS}],
        },
    )
    client.CoreV1Api(robot).list_namespaced_secret(NS)


def custom_resources(api):
    group, plural = "python.test", "gadgets"
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "default": 3}}}},
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": "Gadget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    definitions, custom = client.ApiextensionsV1Api(api), client.CustomObjectsApi(api)
    definitions.create_custom_resource_definition(crd)

    def established():
        conditions = definitions.read_custom_resource_definition(f"{plural}.{group}").status.conditions or []
        return any(c.type == "Established" and c.status == "True" for c in conditions)

    eventually("the definition is established", established)
    body = {"apiVersion": f"{group}/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {}}
    made = custom.create_namespaced_custom_object(group, "v1", NS, plural, body)
    assert made["spec"]["size"] == 3, made
    body["spec"]["size"] = 0
    body["metadata"]["name"] = "h"
    refused(422, "Invalid", custom.create_namespaced_custom_object, group, "v1", NS, plural, body)
    assert len(custom.list_namespaced_custom_object(group, "v1", NS, plural)["items"]) == 1
    definitions.delete_custom_resource_definition(f"{plural}.{group}")


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    assert client.VersionApi(api).get_code().major == "1"
    core.create_namespace({"metadata": {"name": NS}})
    config_maps(core)
    pages(core)
    watches(core)
    pods(core)
    deployments(apps)
    applies(api)
    identities(core, api)
    custom_resources(api)
    core.delete_namespace(NS)
    refused(404, "NotFound", lambda: eventually("the namespace is gone", lambda: core.read_namespace(NS) and False))
    print("done")


main()
