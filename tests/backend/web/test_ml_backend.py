"""The model class in the server of label-studio-ml 1.0.9, which is what the index has.

In a process of its own: importing label_studio_ml loads torch and sets the start method of
multiprocessing for the whole process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from redis import Redis

from tests.backend.worker_end import PROJECT, VERSION, XML, answer, predict_body, task

SERVER = """
import json, sys
from label_studio_ml.api import init_app
from backend.web.ml_backend import DglRsis

calls, body = json.load(sys.stdin)
client = init_app(DglRsis, model_dir=sys.argv[1]).test_client()
served = [client.post(path, json=call).json for path, call in calls]

class Stored(DglRsis):
    'With what the base class of 2.x adds: a store of strings, and setup() at the end of __init__.'

    def __init__(self, project_id=None, label_config=None):
        self.stored = {}
        super().__init__(label_config=label_config)
        self.project_id = project_id
        self.setup()

    def set(self, key, value):
        self.stored[key] = value

model = Stored(project_id=body["project"], label_config=body["label_config"])
answers = model.predict(body["tasks"], context=body["params"]["context"], login="me", password="x")
print(json.dumps([served, model.stored, answers]))
"""


def test_in_the_server_of_1_0_9_and_with_what_2_x_adds(
    announced: Redis, valkey: str, tmp_path: Path
) -> None:
    answer(announced, task(1), task(4))
    setup = {"project": PROJECT, "schema": XML, "hostname": "", "access_token": "0123456789"}
    calls = [
        ("/setup", setup),
        ("/predict", predict_body(task(1), task(2))),
        ("/predict", predict_body(task(1), context={"result": []})),
    ]
    result = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path)],
        env=os.environ | {"REDIS_URL": valkey, "SINGLE_TASK_SECONDS": "0", "BATCH_SECONDS": "0"},
        input=json.dumps([calls, predict_body(task(3), task(4))]),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    (_, batch, interactive), stored, answers = json.loads(result.stdout.splitlines()[-1])
    first, second = batch["results"]
    assert first["model_version"] == VERSION
    assert first["result"][0]["value"]["brushlabels"] == ["ship"]
    assert second == []
    assert [answer["result"] for answer in interactive["results"]] == [[]]
    assert stored == {"model_version": VERSION}
    assert answers[0] == []
    assert answers[1]["model_version"] == VERSION
