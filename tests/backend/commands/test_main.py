import subprocess
import sys
from importlib import metadata

import pytest

from tests.backend.commands.command_line import dgl_rsis
from tests.loading import MODELS, SCENES, loads_none_of

LOGGERS = ("backend", "workers.processes.jobs", "dgl_rsis.clip.model")


def test_help_names_all_commands() -> None:
    status, output = dgl_rsis("--help")
    assert status == 0
    names = "demo up serve worker deliver segment parse evaluate prelabel config tile untile export"
    for name in [*names.split(), "report", "models", "adapt"]:
        assert f" {name} " in output


def test_the_version_is_told() -> None:
    assert dgl_rsis("--version") == (0, f"dgl-rsis {metadata.version('dgl-rsis')}\n")


@pytest.mark.parametrize(("typed", "meant"), [("segmnt", "segment"), ("serv", "serve")])
def test_a_misspelt_command_gets_the_near_one(typed: str, meant: str) -> None:
    status, output = dgl_rsis(typed)
    assert status == 2
    assert f"No such command '{typed}': did you mean {meant}?" in output


def test_without_a_command_there_is_the_help() -> None:
    status, output = dgl_rsis()
    assert status == 2
    assert "Usage: " in output


@pytest.mark.parametrize("command", ["serve", "worker", "deliver"])
def test_without_a_queue_the_way_out_is_named(command: str) -> None:
    status, output = dgl_rsis(command)
    assert status == 2
    assert "REDIS_URL is not set" in output
    assert "dgl-rsis up" in output


@pytest.mark.parametrize(
    ("command", "environment", "words"),
    [
        ("serve", {"PORT": "99999"}, "PORT: Input should be less than or equal to 65535"),
        ("up", {"BASIC_AUTH_USER": "me"}, "set both BASIC_AUTH_USER and BASIC_AUTH_PASS"),
        ("up", {"LABEL_STUDIO_URL": "studio:8080"}, "without a scheme"),
        ("worker", {"DEVICE": "tpu", "REDIS_URL": "redis://127.0.0.1:1"}, "write cpu, cuda or"),
        (
            "serve",
            {"REDIS_URL": "localhost:6379"},
            "'localhost:6379', without a scheme: write redis",
        ),
        ("worker", {"REDIS_URL": "me:secret@host/0"}, "REDIS_URL is 'host/0', without a scheme"),
        ("up", {"REDIS_URL": "http://host:6379"}, "REDIS_URL is 'http://host:6379': write redis"),
    ],
)
def test_a_wrong_setting_is_named(command: str, environment: dict[str, str], words: str) -> None:
    status, output = dgl_rsis(command, **environment)
    assert status == 2
    assert words in output
    assert "Traceback" not in output
    assert "secret" not in output


def test_a_worker_without_its_queue_says_so_and_waits() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "backend.commands.main", "deliver"],
        env={"PATH": "/usr/bin:/bin", "REDIS_URL": "redis://127.0.0.1:1/0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "waiting" in line)
        assert "check that its server runs and that REDIS_URL is right" in said
        assert process.poll() is None
        process.terminate()
        assert "Traceback" not in process.stdout.read()


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("INFO", {"backend INFO", "workers.processes.jobs INFO", "dgl_rsis.clip.model INFO"}),
        ("WARNING", set()),
        ("DEBUG", {f"{name} {level}" for name in LOGGERS for level in ("DEBUG", "INFO")}),
    ],
)
def test_libraries_are_heard_from_warnings_up(level: str, said: set[str]) -> None:
    code = (
        "import logging\nfrom backend.commands.options import log as set_up\n"
        "from workers.settings import SharedSettings\n"
        f"set_up(SharedSettings(log_level={level!r}), 'text')\n"
        f"for name in ({', '.join(map(repr, LOGGERS))}, 'root', 'open_clip.factory'):\n"
        "    log = logging.getLogger(name if name != 'root' else None)\n"
        "    log.debug(''); log.info(''); log.warning('')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    warned = {f"{name} WARNING" for name in (*LOGGERS, "root", "open_clip.factory")}
    lines = [line.split() for line in ran.stderr.splitlines()]
    assert {f"{name} {level}" for _, level, name in lines} == said | warned


def test_a_library_that_is_not_installed_is_named_with_the_way_out() -> None:
    code = (
        "import sys\nfrom backend.commands import main\n"
        "sys.modules['rasterio'] = None\n"
        "@main.app.command()\ndef scene():\n    import rasterio\n"
        "sys.argv = ['dgl-rsis', 'scene']\n"
        "main.main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert "needs rasterio, which is not installed here: `pip install '.[data]'` in" in ran.stderr


def test_the_web_side_loads_no_model_code() -> None:
    code = (
        "import backend.web.app, backend.web.server, backend.commands.main\n"
        "import backend.commands.up.run, backend.studio.delivery\n"
    )
    code += loads_none_of(*MODELS, *SCENES, "label_studio_sdk", "label_studio_ml")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_help_of_all_commands_loads_nothing_heavy() -> None:
    code = (
        "import importlib\nfrom backend.commands.lazy import ELSEWHERE\n"
        "for module, name in ELSEWHERE.values(): importlib.import_module(module)\n"
    )
    code += loads_none_of(*MODELS, *SCENES, "label_studio_sdk", "label_studio_ml", algorithm=True)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_server_does_not_load_what_other_commands_need() -> None:
    code = "import backend.commands.main\n" + loads_none_of(
        "numpy", "cv2", "PIL", "redis", "rq", "defusedxml"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
