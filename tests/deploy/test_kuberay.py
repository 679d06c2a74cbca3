"""The files for Kubernetes: its own schema of pods, and of KubeRay's fields those that they use."""

import shlex
from pathlib import Path

import pytest
import yaml

from search.cli.parse import parse_call

kubernetes = pytest.importorskip("kubernetes_validate", reason="in the dev extra")
jsonschema = pytest.importorskip("jsonschema", reason="comes with kubernetes-validate")

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in (ROOT / "deploy" / "kuberay").glob("*.yaml")}
KUBERNETES = "1.34"


def read(name):
    return yaml.safe_load(FILES[name].read_text())


def an_object(*required, **properties):
    """A field that the schema does not know would be dropped in silence by a server."""
    return {
        "type": "object",
        "properties": {key.replace("_", "-"): value for key, value in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }


TEXT, YES, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
POD = an_object("spec", spec={"type": "object"})
# Ray's options are strings, numbers too.
OPTIONS = an_object(num_cpus=TEXT, num_gpus=TEXT, dashboard_host=TEXT)
HEAD = an_object("rayStartParams", "template", rayStartParams=OPTIONS, template=POD)
GROUP = an_object(
    "groupName",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=OPTIONS,
    template=POD,
)
CLUSTER = an_object(
    "headGroupSpec",
    "rayVersion",
    rayVersion=TEXT,
    authOptions=an_object("mode", mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling=YES,
    autoscalerOptions=an_object(idleTimeoutSeconds=COUNT),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": GROUP},
)
SPEC = an_object(
    "entrypoint",
    "rayClusterSpec",
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes=YES,
    ttlSecondsAfterFinished=COUNT,
    rayClusterSpec=CLUSTER,
)
RAYJOB = an_object(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=an_object("name", name=TEXT),
    spec=SPEC,
)


def pods():
    """Each file's pod templates, by name."""
    cluster = read("rayjob")["spec"]["rayClusterSpec"]
    yield "head", cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]
    yield "train", read("train")["spec"]["template"]


PODS = dict(pods())


def test_the_rayjob_has_the_fields_and_types_that_kuberay_knows():
    jsonschema.validate(read("rayjob"), RAYJOB)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"rayjob"}))
def test_what_is_kubernetes_own_is_valid(name):
    kubernetes.validate(read(name), KUBERNETES, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_valid_and_mounts_what_it_has(name):
    pod = PODS[name]
    kubernetes.validate({"apiVersion": "v1", "kind": "Pod", **pod}, KUBERNETES, strict=True)
    (container,) = pod["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    claim = volumes["runs"]["persistentVolumeClaim"]["claimName"]
    assert claim == read("storage")["metadata"]["name"]


def test_a_field_that_nobody_knows_is_found():
    job = read("rayjob")
    job["spec"]["rayClusterSpec"]["autoscaling"] = True
    with pytest.raises(jsonschema.ValidationError, match="autoscaling"):
        jsonschema.validate(job, RAYJOB)
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"container": []}}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["rayjob", "train"])
def test_the_commands_are_read_by_the_command_line(name):
    spec = read(name)["spec"]
    if name == "rayjob":
        words = shlex.split(spec["entrypoint"])
        words = words[words.index("tokennas") + 1 :]
        assert words[0] == "search"
    else:
        words = spec["template"]["spec"]["containers"][0]["command"]
        words = words[words.index("search") + 1 :]
        assert words[0] == "train"
    words[words.index("/config/config.yaml")] = str(ROOT / "configs" / "deit_small_imagenet.yaml")
    call = parse_call(words)
    assert call.config.run == "/runs/main"
    assert call.config.data.dataset.root == "/runs/data"


def test_workers_fill_the_gpus_of_all_nodes():
    spec = read("rayjob")["spec"]
    words = shlex.split(spec["entrypoint"])
    workers = int(words[words.index("--search.workers") + 1])
    share = float(words[words.index("--search.gpus_per_worker") + 1])
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert workers * share == group["maxReplicas"] * gpus
