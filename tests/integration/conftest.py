"""A real OpenAI-compatible server, and the model folder that the real engines run."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

SERVER_START_S = 300


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The trained model of the Hanoi example."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    folder = Path(__file__).parents[2] / "examples" / "hanoi_microagent" / "model"
    assert (folder / "model.safetensors").is_file(), f"{folder} holds no model: run the example's train.py"
    return folder


@pytest.fixture(scope="session")
def vllm_server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of vLLM's own server with the model named ``hanoi``; one for the whole session."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_folder)]
    command += ["--served-model-name", "hanoi", "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
    # With bfloat16 the server's worker uses AMX tiles for attention if the processor has them, and dies of an illegal
    # instruction on a virtual machine that does not grant them.
    command += ["--dtype", "float32"]
    # Seeded requests with chunked prefill kill the CPU engine.
    command += ["--no-enable-chunked-prefill", "--gpu-memory-utilization", "0.2", "--generation-config", "vllm"]
    quiet = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    # Threads bound to cores that other processes use as well slow the engine down to a few steps a second.
    threads = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with (
        log.open("w") as output,
        # In a session of its own, so that its engine process can be ended with it.
        subprocess.Popen(
            command, env={**os.environ, **quiet, **threads}, stdout=output, stderr=output, start_new_session=True
        ) as server,
    ):
        try:
            _wait_until_ready(server, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _end(server)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SERVER_START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server ended with {server.returncode}:\n{log.read_text()[-3000:]}"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the server was not ready within {SERVER_START_S} s:\n{log.read_text()[-3000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(timeout=20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
