"""The deployment files of a fleet: Kubernetes by the published schemas, and what the objects say of each other."""

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "berry-server" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def objects():
    """The objects that the kustomization lists, by kind."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    listed = kustomization["resources"]
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == there
    found = {}
    for name in listed:
        for one in yaml.safe_load_all((KUBERNETES / name).read_text()):
            found[one["kind"]] = one
    return found


def test_all_objects_are_there():
    kinds = {
        "Namespace", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
        "ServiceMonitor", "ConfigMap", "Secret",
    }
    assert set(objects()) == kinds


@pytest.mark.parametrize("kind", sorted(set(objects()) - {"ServiceMonitor"}))
def test_an_object_obeys_the_published_schema(kind):
    kubernetes_validate.validate(objects()[kind], kubernetes_validate.latest_version(), strict=True)


def test_the_schemas_refuse_what_is_wrong():
    wrong = objects()["Deployment"]
    wrong["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_objects_fit_together():
    found = objects()
    pod = found["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"]
    for selector in [
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]:
        assert selector.items() <= labels.items()
    monitor = found["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= found["Service"]["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in found["Service"]["spec"]["ports"]}
    assert monitor["endpoints"][0]["authorization"]["credentials"]["key"] in found["Secret"]["stringData"]
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} == {port["name"] for port in container["ports"]}
    assert container["envFrom"][0]["secretRef"]["name"] == found["Secret"]["metadata"]["name"]
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]


def test_the_configuration_of_the_map_is_valid_and_fits_the_grace(tmp_path, berry):
    found = objects()
    file = tmp_path / "config.toml"
    file.write_text(found["ConfigMap"]["data"]["config.toml"])
    file.chmod(0o600)
    environment = {**found["Secret"]["stringData"], "PATH": "/usr/bin"}
    done = subprocess.run([berry, "--check-config", "--config", file], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    import tomllib

    settings = tomllib.loads(file.read_text())["settings"]
    grace = found["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings["shutdown_delay_seconds"] + settings["shutdown_grace_seconds"] + 10


@pytest.fixture
def berry():
    import os

    target = os.environ.get("BERRY_TARGET", DEPLOY.parents[1] / "target")
    return Path(target) / "debug" / "berry-server"


def test_the_compose_file_of_the_fleet_has_two_berrys_and_what_they_share():
    services = yaml.safe_load((DEPLOY / "docker-compose.fleet.yml").read_text())["services"]
    assert set(services) == {"berry1", "berry2", "nginx", "redis", "postgres"}
    assert services["berry1"] == services["berry2"]
    mounted = services["nginx"]["volumes"][0].split(":")[0]
    text = (DEPLOY / mounted).read_text()
    assert all(f"server {name}:3000;" in text for name in ("berry1", "berry2"))
