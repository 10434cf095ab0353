"""The files of deploy/kubernetes: valid, with the fewest rights, and what a run's pod gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._config import process_config
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import create_run_for_test
from dagster_shared.yaml_utils import load_yaml_from_path

from ar_sync_pipeline.operations.runs import watched_launcher
from ar_sync_pipeline.operations.runs.kubernetes_launcher import WatchedK8sRunLauncher
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings, variables
from ar_sync_pipeline_tests.deploy.kubernetes_api import KubernetesApi, kubernetes_api
from ar_sync_pipeline_tests.deploy.test_deployment_files import parse, servers

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
MODELS = {"sender": SenderSettings, "receiver": ReceiverSettings}
SIDES = pytest.mark.parametrize("side", list(MODELS))
VERSIONS = ("1.27", "1.30", "1.34")


def yaml_file(name: str) -> dict[str, Any]:
    loaded = load_yaml_from_path(str(FOLDER / name))
    assert isinstance(loaded, dict)
    return loaded


def resources() -> list[dict[str, Any]]:
    """Return everything that `kubectl apply -k` makes, except the map of the instance's files."""
    names = yaml_file("kustomization.yaml")["resources"]
    return [document for name in names for document in documents((FOLDER / name).read_text())]


def documents(text: str) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(text)]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {r["metadata"]["name"]: r for r in resources() if r["kind"] == kind}


def pod_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = of_kind("Deployment")[name]["spec"]["template"]["spec"]
    return found


def container_of(side: str) -> dict[str, Any]:
    (container,) = pod_of(f"santiago-{side}")["containers"]
    assert isinstance(container, dict)
    return container


def env_of(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container.get("env", ())}


def sources_of(container: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the maps and secrets from which a container gets its environment."""
    return {(kind, r["name"]) for entry in container["envFrom"] for kind, r in entry.items()}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubernetesApi]:
    with kubernetes_api(tmp_path) as made:
        yield made


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


@pytest.fixture
def launcher(
    api: KubernetesApi, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> WatchedK8sRunLauncher:
    """Return the launcher of the instance's `dagster.yaml`."""
    # No pod of the tests reports its end.
    monkeypatch.setattr(watched_launcher, "_ENDS_WITHIN_SECONDS", 0)
    written = yaml_file("dagster.yaml")["run_launcher"]
    assert written["module"] == WatchedK8sRunLauncher.__module__
    assert written["class"] == WatchedK8sRunLauncher.__name__
    config = process_config(
        WatchedK8sRunLauncher.config_type(),  # type: ignore[no-untyped-call]
        {
            **written["config"],
            "load_incluster_config": False,
            "kubeconfig_file": str(api.kubeconfig),
        },
    )
    assert config.success, config.errors
    assert config.value is not None
    made: WatchedK8sRunLauncher = WatchedK8sRunLauncher.from_config_value(None, config.value)  # type: ignore[no-untyped-call]
    made.register_instance(instance)
    return made


def run_of(side: str, instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    """Make a run as the code server of the manifest describes its own runs."""
    env = env_of(container_of(side))
    origin = RepositoryPythonOrigin(
        executable_path="python",
        code_pointer=ModuleCodePointer(f"ar_sync_pipeline.{side}", "defs"),
        container_image=env["DAGSTER_CURRENT_IMAGE"],
        container_context=json.loads(env["DAGSTER_CONTAINER_CONTEXT"]),
        entry_point=["dagster"],
    )
    run: dg.DagsterRun = create_run_for_test(
        instance,
        job_name="__ASSET_JOB",
        status=dg.DagsterRunStatus.STARTED,
        tags=tags,
        job_code_origin=JobPythonOrigin(job_name="__ASSET_JOB", repository_origin=origin),
    )
    return run


@pytest.mark.long
def test_every_resource_is_valid_for_each_kubernetes_version() -> None:
    found = resources()
    assert {"Deployment", "NetworkPolicy", "Role", "Service"} <= {r["kind"] for r in found}
    for resource in found:
        for version in VERSIONS:
            kubernetes_validate.validate(resource, version, strict=True)


def test_instance_differs_from_that_of_other_hosts_in_its_launcher_alone() -> None:
    here, elsewhere = (
        yaml_file("dagster.yaml"),
        load_yaml_from_path(str(ROOT / "dagster.postgres.yaml")),
    )
    assert isinstance(elsewhere, dict)
    assert here.pop("run_launcher") != elsewhere.pop("run_launcher")
    assert here == elsewhere
    made = yaml_file("kustomization.yaml")["configMapGenerator"]
    assert all((FOLDER / name).is_file() for entry in made for name in entry["files"])


def test_every_process_is_understood_by_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    for deployment in of_kind("Deployment").values():
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            words = [
                str(FOLDER / "workspace.yaml") if word.endswith("workspace.yaml") else word
                for word in container["command"]
            ]
            with monkeypatch.context() as set_for_it:
                for name, value in env_of(container).items():
                    set_for_it.setenv(name, value)
                options = parse(words)
            if "-m" in words:
                context = json.loads(env_of(container)["DAGSTER_CONTAINER_CONTEXT"])
                assert json.loads(options["container_context"]) == context


def test_code_servers_are_where_the_workspace_looks_for_them() -> None:
    services = of_kind("Service")
    for server in servers(FOLDER / "workspace.yaml"):
        service = services[server["host"]]
        assert [entry["port"] for entry in service["spec"]["ports"]] == [server["port"]]
        selected = service["spec"]["selector"].items()
        template = of_kind("Deployment")[server["host"]]["spec"]["template"]
        assert selected <= template["metadata"]["labels"].items()
        assert str(server["port"]) in template["spec"]["containers"][0]["command"]


@SIDES
def test_settings_are_those_of_the_side_and_no_secret_is_in_a_file(side: str) -> None:
    known = variables(MODELS[side])
    settings = of_kind("ConfigMap")[f"santiago-{side}"]["data"]
    assert settings["AR_SYNC_PAIR"] == "santiago"
    assert set(settings) <= set(known)
    assert not any(known[name].secret for name in settings)
    required = {name for name, one in known.items() if one.default is None and not one.secret}
    assert required <= set(settings)
    assert of_kind("Secret") == {}


def test_claims_and_accounts_that_pods_name_exist() -> None:
    claims, accounts = of_kind("PersistentVolumeClaim"), of_kind("ServiceAccount")
    for deployment in of_kind("Deployment").values():
        pod = deployment["spec"]["template"]["spec"]
        named = [
            v["persistentVolumeClaim"]["claimName"]
            for v in pod["volumes"]
            if len(v) > 1 and "persistentVolumeClaim" in v
        ]
        assert set(named) <= set(claims)
        assert pod["serviceAccountName"] in accounts


def assert_confined(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *(pod.get("initContainers") or ())]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert all(container["resources"]["limits"]["memory"] for container in pod["containers"])


def test_no_container_may_do_more_than_it_needs() -> None:
    for name, deployment in of_kind("Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        assert_confined(pod)
        if name != "control-plane":
            assert pod["automountServiceAccountToken"] is False
            assert pod["serviceAccountName"] == "ar-sync-location"
    (binding,) = of_kind("RoleBinding").values()
    assert [subject["name"] for subject in binding["subjects"]] == ["ar-sync-control-plane"]


@SIDES
def test_pod_of_a_run_has_the_image_folders_and_secrets_of_its_code_server(
    side: str, api: KubernetesApi, instance: dg.DagsterInstance, launcher: WatchedK8sRunLauncher
) -> None:
    launcher.launch_run(LaunchRunContext(run_of(side, instance), workspace=None))
    (job,) = api.jobs
    assert api.namespaces == {"ar-sync"}
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    pod, server = job["spec"]["template"]["spec"], container_of(side)
    (container,) = pod["containers"]
    assert container["image"] == server["image"]
    assert sources_of(container) == sources_of(server)
    assert container["volumeMounts"] == server["volumeMounts"]
    assert pod["volumes"] == pod_of(f"santiago-{side}")["volumes"]
    own = {"DAGSTER_CURRENT_IMAGE", "DAGSTER_CONTAINER_CONTEXT"}
    env = env_of(container)
    assert env.pop("DAGSTER_RUN_JOB_NAME") == "__ASSET_JOB"
    assert env == {name: v for name, v in env_of(server).items() if name not in own}
    assert container["args"][:3] == ["dagster", "api", "execute_run"]
    # A pod is never started again for a run: the product retries it.
    assert job["spec"]["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"


@SIDES
def test_pod_of_a_run_is_confined_like_its_code_server(
    side: str, api: KubernetesApi, instance: dg.DagsterInstance, launcher: WatchedK8sRunLauncher
) -> None:
    launcher.launch_run(LaunchRunContext(run_of(side, instance), workspace=None))
    template = api.jobs[0]["spec"]["template"]
    assert_confined(template["spec"])
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["spec"]["serviceAccountName"] == "ar-sync-location"
    labels = template["metadata"]["labels"].items()
    policies = of_kind("NetworkPolicy")
    chosen = {
        name
        for name, policy in policies.items()
        if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels
    }
    # What its side reaches, and nobody reaches it.
    assert chosen == {"nothing-else", "names", f"santiago-{side}"}


def test_control_plane_may_do_what_the_launcher_asks_and_nothing_else(
    api: KubernetesApi, instance: dg.DagsterInstance, launcher: WatchedK8sRunLauncher
) -> None:
    run = run_of("sender", instance)
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED
    assert "OOMKilled" in str(launcher.get_run_worker_debug_info(run))
    assert launcher.terminate(run.run_id)
    api.pods = []
    assert launcher.get_run_worker_debug_info(run)
    (role,) = of_kind("Role").values()
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == api.asked


# 403: rights or tokens that change during an upgrade. A proxy in front of the server answers 418.
@pytest.mark.parametrize("refusal", [403, 409, 418])
def test_run_is_not_lost_while_the_api_server_does_not_answer(
    refusal: int,
    api: KubernetesApi,
    instance: dg.DagsterInstance,
    launcher: WatchedK8sRunLauncher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, other = run_of("sender", instance), run_of("receiver", instance)
    api.status = {"active": 1}
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    api.refusal = refusal
    for one in (run, other):
        found = launcher.check_run_worker_health(one)
        assert found.status is WorkerStatus.RUNNING
        assert found.msg == "the API server of the cluster does not answer"
    # An answer in between starts the minutes again.
    api.refusal = None
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    api.refusal = refusal
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    monkeypatch.setattr(watched_launcher, "SILENT_SECONDS", 0)
    found = launcher.check_run_worker_health(run)
    assert found.status is WorkerStatus.NOT_FOUND
    assert "the API server of the cluster has not answered for" in str(found.msg)


def test_run_without_a_job_is_gone_at_once(
    api: KubernetesApi, instance: dg.DagsterInstance, launcher: WatchedK8sRunLauncher
) -> None:
    api.refusal = 404
    found = launcher.check_run_worker_health(run_of("sender", instance))
    assert found.status is WorkerStatus.NOT_FOUND
    assert found.msg == "the worker is gone, the cluster no longer has its Job"


def test_run_that_took_too_long_has_failed_after_its_pod_has_reported_the_end(
    instance: dg.DagsterInstance,
    launcher: WatchedK8sRunLauncher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_of("sender", instance)
    monkeypatch.setattr(watched_launcher, "_ENDS_WITHIN_SECONDS", 20)
    pod = Timer(1, lambda: instance.report_run_canceled(run))
    pod.start()
    assert launcher.terminate(run.run_id)
    found = instance.get_run_by_id(run.run_id)
    pod.join()
    assert found is not None
    assert found.status is dg.DagsterRunStatus.CANCELED


def test_run_that_an_operator_terminates_is_canceled_and_not_retried(
    instance: dg.DagsterInstance, launcher: WatchedK8sRunLauncher
) -> None:
    run = run_of("sender", instance)
    assert launcher.terminate(run.run_id)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.CANCELING


@SIDES
def test_another_pair_is_the_same_files_with_its_name(side: str) -> None:
    text = (FOLDER / f"santiago_{side}.yaml").read_text().replace("santiago", "lima")
    taken = {(r["kind"], r["metadata"]["name"]) for r in resources()}
    assert taken.isdisjoint((r["kind"], r["metadata"]["name"]) for r in documents(text))
    assert all(claim.startswith("lima-") for claim in re.findall(r"claimName\W+([\w-]+)", text))
