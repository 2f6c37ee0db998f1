"""The service on a node of Ray, with two replicas, of which one is killed and one is let go while people speak."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import psutil
import pytest

from benchmarks.served import free_port
from tests import ray_node
from tests.serving import get
from tests.test_handover import spoken
from tests.test_vault import Balancer
from voicewire.client import ConnectionLost, ServerError, connect
from voicewire.streaming.messages import Done

serve = pytest.importorskip("ray.serve", reason="Ray Serve is not installed: pip install 'voicewire[ray]'")
from voicewire.streaming import ray_serve  # noqa: E402
from voicewire.streaming.errors import DeploymentError  # noqa: E402
from voicewire.streaming.ray_serve import Replicas  # noqa: E402

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(900)]

Heard = tuple[list[str], int, Done]

SECONDS, SLOTS = 10.0, 2
# All replicas share a core or two here, so a session may be behind, and long without its connection.
SETTINGS = {"max_sessions": SLOTS, "codecs": "none", "resume_s": 300, "overload_s": 0}


def deploy(replicas: int) -> None:
    service = ray_serve.application({**SETTINGS, "replicas": replicas})
    # As with a configuration that differs in the number alone: who runs goes on running.
    service._bound_deployment._version = "1"
    serve.run(service, name=ray_serve.NAME)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ray_node.node():
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        deploy(2)
        yield f"ws://127.0.0.1:{port}/v1/stream"
        serve.shutdown()


@pytest.fixture(scope="module")
def undisturbed(url: str) -> Heard:
    """A session that nothing happens to."""
    return asyncio.run(spoken(url, SECONDS, 0.0, 5.0))


async def until_running(replicas: int) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        status = serve.status().applications[ray_serve.NAME].deployments[ray_serve.NAME]
        if dict(status.replica_states) == {"RUNNING": replicas}:
            return
        await asyncio.sleep(0.3)
    raise AssertionError(status)


def processes() -> list[int]:
    """Of the replicas."""
    found = psutil.Process().children(recursive=True)
    return [process.pid for process in found if "".join(process.cmdline()).startswith("ray::ServeReplica")]


def two_sessions(url: str) -> "list[asyncio.Task[Heard]]":
    """Serve leads them to a replica each."""
    return [asyncio.create_task(spoken(url, SECONDS, delay_s, 1.0)) for delay_s in (0.0, 0.5)]


async def open_sessions(url: str, count: int, stack: AsyncExitStack) -> None:
    for _ in range(count):
        await stack.enter_async_context(connect(url, open_timeout_s=60))


async def test_who_finds_no_slot_is_told_so(url: str) -> None:
    status, answer, _ = get(f"http{url.removeprefix('ws').removesuffix('/v1/stream')}/readyz")
    assert (status, answer["slots"]["capacity"]) == (200, SLOTS)
    async with AsyncExitStack() as stack:
        with pytest.raises(ServerError) as refusal:
            await open_sessions(url, 2 * SLOTS + 1, stack)
    assert refusal.value.code == "capacity"


async def test_a_client_that_comes_back_to_either_replica_loses_nothing(url: str, undisturbed: Heard) -> None:
    expected, _, expected_done = undisturbed
    balancer = Balancer([int(url.rpartition(":")[2].partition("/")[0])])
    front = await asyncio.start_server(balancer, "127.0.0.1", 0)
    port = front.sockets[0].getsockname()[1]
    session = asyncio.create_task(spoken(f"ws://127.0.0.1:{port}/v1/stream", SECONDS, 0.0, 1.5))
    for _ in range(4):
        await asyncio.sleep(1.3)
        balancer.cut()
    assert await session == (expected, 4, expected_done)
    front.close()


async def test_what_is_killed_takes_its_sessions_along_and_what_is_let_go_leaves_them(
    url: str, undisturbed: Heard
) -> None:
    expected, _, expected_done = undisturbed
    sessions = two_sessions(url)
    await asyncio.sleep(3)
    victim, _ = processes()
    os.kill(victim, signal.SIGKILL)
    outcomes = await asyncio.gather(*sessions, return_exceptions=True)
    lost, kept = sorted(outcomes, key=lambda outcome: isinstance(outcome, tuple))
    assert isinstance(lost, ConnectionLost)
    assert "resume_failed" in str(lost)
    assert kept == (expected, 0, expected_done)

    await until_running(2)
    assert victim not in processes()
    sessions = two_sessions(url)
    await asyncio.sleep(1)
    await asyncio.to_thread(deploy, 1)
    heard = await asyncio.gather(*sessions)
    assert [(words, done) for words, _, done in heard] == 2 * [(expected, expected_done)]
    assert sorted(resumed for _, resumed, _ in heard) == [0, 1]
    await until_running(1)
    assert len(processes()) == 1


async def test_an_application_that_is_ended_sees_its_sessions_out(url: str) -> None:
    session = asyncio.create_task(spoken(url, 23.0, 0.0, 1.0))
    await asyncio.sleep(2)
    await asyncio.to_thread(serve.delete, ray_serve.NAME)
    with pytest.raises(ServerError) as end:
        await session
    assert end.value.code == "shutting_down"


# ---- settings


@pytest.mark.parametrize("wrong", ["0", "3-2", "two", "-4", "1-"])
def test_replicas_that_cannot_be(wrong: str) -> None:
    with pytest.raises(DeploymentError, match="such as 2 or 2-8"):
        Replicas.parse(wrong)


def test_the_slots_in_use_say_how_many_replicas_there_are_to_be() -> None:
    deployment = ray_serve.application(
        {"replicas": "2-8", "max_sessions": 24, "threads": 4}
    )._bound_deployment
    config = deployment._deployment_config
    assert (config.autoscaling_config.min_replicas, config.autoscaling_config.max_replicas) == (2, 8)
    assert config.autoscaling_config.target_ongoing_requests == 16
    assert deployment.ray_actor_options["num_cpus"] == 4


@pytest.mark.parametrize("wrong", [{"max_sessions": "auto"}, {"wyoming": "10300"}, {"handover": "/tmp"}])
def test_settings_that_cannot_be_had_on_ray(wrong: dict[str, str]) -> None:
    with pytest.raises(DeploymentError, match=next(iter(wrong))):
        ray_serve.application(wrong)
