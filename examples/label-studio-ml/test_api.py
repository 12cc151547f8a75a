"""Calls as Label Studio makes them, to the server of `_wsgi.py`.

Needs a queue (REDIS_URL) and a segment worker that reads LOCAL_FILES_DOCUMENT_ROOT, with an image
there that IMAGE names.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from _wsgi import app
from flask.testing import FlaskClient

IMAGE = os.environ.get("IMAGE", "dubai-5-8.jpg")
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image"><Label value="building"/><Label value="road"/></BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="building"/></KeyPointLabels>
</View>"""  # noqa: E501
PROJECT = "1.1795419101"
TASK = {"id": 1, "data": {"image": f"/data/local-files/?d={IMAGE}"}}
POINT = {
    "type": "keypointlabels", "from_name": "point", "to_name": "image", "id": "p",
    "original_width": 1126, "original_height": 1058, "image_rotation": 0, "is_positive": True,
    "value": {"x": 50.0, "y": 50.0, "width": 0.3, "keypointlabels": ["building"]},
}  # fmt: skip


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    app.config["TESTING"] = True
    with app.test_client() as client:
        yield client


def predict(client: FlaskClient, context: Any = None) -> Any:
    params = {"login": None, "password": None, "context": context}
    body = {"tasks": [TASK], "project": PROJECT, "label_config": CONFIG, "params": params}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json["results"]


def test_health(client: FlaskClient) -> None:
    assert client.get("/health").json == {"status": "UP", "model_class": "DglRsis"}


def test_setup_says_the_model_version(client: FlaskClient) -> None:
    body = {
        "project": PROJECT,
        "schema": CONFIG,
        "hostname": "",
        "access_token": "",
        "extra_params": None,
    }
    assert client.post("/setup", json=body).json["model_version"].startswith("dgl-rsis-")


def test_a_task_gets_masks(client: FlaskClient) -> None:
    (prediction,) = predict(client)
    labels = {region["value"]["brushlabels"][0] for region in prediction["result"]}
    assert labels <= {"building", "road"}
    assert labels


def test_a_click_gets_one_mask(client: FlaskClient) -> None:
    (prediction,) = predict(client, {"result": [POINT]})
    assert [region["type"] for region in prediction["result"]] == ["brushlabels"]


def test_an_event_is_taken(client: FlaskClient) -> None:
    event = {"action": "ANNOTATION_CREATED", "annotation": {"id": 11}, "project": {"id": 1}}
    assert client.post("/webhook", json=event).status_code == 201
