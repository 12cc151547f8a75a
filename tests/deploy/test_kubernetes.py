"""The manifests: what can be said of them without a cluster."""

import itertools
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.containers import BASE, GIVEN, compose, health_command, instruction
from tests.paths import ROOT
from workers.settings import WorkerSettings

FOLDER = ROOT / "deploy" / "kubernetes"
LISTS = [FOLDER / "kustomization.yaml", FOLDER / "weights" / "kustomization.yaml"]
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path not in LISTS)
OBJECTS: list[tuple[str, dict[str, Any]]] = [
    (path.name, each) for path in FILES for each in yaml.safe_load_all(path.read_text())
]
PODS = {
    each["metadata"]["name"]: each["spec"]["template"] for _, each in OBJECTS
    if "template" in each.get("spec", {})
}  # fmt: skip
SERVICES = compose(GIVEN, BASE)["services"]
# Pod → the service of Compose that does the same.
SAME = {
    "backend": "backend", "delivery": "delivery", "worker": "worker", "clicks": "clicks",
    "worker-l4": "worker-gpu", "clicks-l4": "clicks-gpu", "valkey": "valkey",
}  # fmt: skip


@pytest.mark.parametrize(("file", "manifest"), OBJECTS)
def test_a_manifest_is_as_its_schema_says(file: str, manifest: dict[str, Any]):
    kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_the_schemas_refuse_what_is_wrong():
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"port": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


@pytest.mark.parametrize("name", PODS)
def test_pods_are_confined(name: str):
    pod = PODS[name]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        user = instruction("worker", "USER").partition(":")[0]
        assert str(pod["securityContext"]["runAsUser"]) in (user, "999")


@pytest.mark.parametrize("name", SAME)
def test_a_pod_does_what_the_service_of_compose_does(name: str):
    service, (container,) = SERVICES[SAME[name]], PODS[name]["spec"]["containers"]
    assert container["image"] == service["image"]
    if name == "valkey":
        assert container["command"] == [text.replace("$$", "$") for text in service["command"]]
        return
    assert container["args"] == service["command"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given["REDIS_URL"] == "redis://:$(VALKEY_PASSWORD)@valkey:6379/0"
    assert given.get("DEVICE") == service["environment"].get("DEVICE")
    if name != "backend":
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["exec"]["command"] == health_command(service)


def test_the_probes_of_the_web_server_are_its_paths():
    (container,) = PODS["backend"]["spec"]["containers"]
    paths = {name: each["httpGet"]["path"] for name, each in container.items() if "Probe" in name}
    assert paths == {
        "startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready",
    }  # fmt: skip
    service, *_ = [each for _, each in OBJECTS if each["metadata"]["name"] == "backend"]
    # An event is taken while no worker serves.
    assert service["spec"]["publishNotReadyAddresses"] is True


def test_a_gpu_is_a_whole_one_of_its_class():
    for name in ("worker-l4", "clicks-l4"):
        pod = PODS[name]["spec"]
        assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_selectors_and_references_lead_somewhere():
    labels = [PODS[name]["metadata"]["labels"] for name in PODS]
    for _, each in OBJECTS:
        spec = each.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector") or {}
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= label.items() for label in labels), each["metadata"]
    claims = {o["metadata"]["name"] for _, o in OBJECTS if o["kind"] == "PersistentVolumeClaim"}
    text = "".join(path.read_text() for path in FOLDER.rglob("*.yaml"))
    assert set(re.findall(r"claimName: (\w+)", text)) == claims
    for pod in PODS.values():
        volumes = {each["name"] for each in pod["spec"].get("volumes", [])} | {"data"}
        mounts = itertools.chain(*(c["volumeMounts"] for c in pod["spec"]["containers"]))
        assert {each["name"] for each in mounts} <= volumes


@pytest.mark.parametrize("path", LISTS, ids=["base", "weights"])
def test_a_kustomization_lists_what_there_is(path: Path):
    read = yaml.safe_load(path.read_text())
    beside = {each.name for each in path.parent.glob("*.yaml")} - {path.name}
    commented = set(re.findall(r"^  # - ([\w-]+\.yaml)", path.read_text(), flags=re.M))
    assert set(read["resources"]) | commented == beside
    images = {image["name"] for image in read.get("images", [])}
    used = {SERVICES[SAME[name]]["image"].partition(":")[0] for name in SAME if name != "valkey"}
    assert images in (used, set())


def test_weights_are_mounted_where_models_are_held():
    read = yaml.safe_load(LISTS[1].read_text())
    (patch,) = read["patches"]
    name, _, value = patch["target"]["labelSelector"].partition("=")
    about = [each["metadata"] for _, each in OBJECTS]
    holding = {each["name"] for each in about if each.get("labels", {}).get(name) == value}
    assert holding == {"worker", "clicks", "worker-l4", "clicks-l4"}
    for step in yaml.safe_load(patch["patch"]):
        place: Any = {"spec": {"template": PODS["worker"]}}
        for part in step["path"].strip("/").split("/")[:-1]:
            place = place[int(part) if part.isdigit() else part]
        assert isinstance(place, list)


def test_settings_and_secrets_are_read():
    def keys(name: str) -> set[str]:
        return set(re.findall(r"^(\w+)=", (FOLDER / name).read_text(), flags=re.M))

    fields = {name.upper() for name in WorkerSettings.model_fields}
    assert keys("settings.env") <= fields
    text = "".join(path.read_text() for path in FILES)
    assert set(re.findall(r"name: dgl-rsis, key: (\w+)", text)) == keys("secret.env.example")
