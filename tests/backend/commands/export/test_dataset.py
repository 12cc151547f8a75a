from pathlib import Path

from backend.commands.export.dataset import DatasetVocabulary, copy_image
from backend.project.colours import colours, rgb
from tests.backend.commands.export.examples import example


def test_labels_have_numbers_and_different_colours() -> None:
    vocabulary = DatasetVocabulary.of([f"class {i}" for i in range(60)])
    assert vocabulary.numbers["class 7"] == 7
    assert len(set(vocabulary.colours)) == 60


def test_given_colours_win() -> None:
    vocabulary = DatasetVocabulary.of(
        ["a", "b", "c"], {"a": "rgba(1, 2, 3, 0.5)", "b": "no colour"}
    )
    own = colours(["b", "c"])
    assert vocabulary.colours == ((1, 2, 3), rgb(own["b"]), rgb(own["c"]))


def test_images_are_copied(tmp_path: Path) -> None:
    given = example(tmp_path, "a", [], (4, 5))
    copy = copy_image(given, tmp_path / "out/images")
    assert copy.read_bytes() == given.source.read_bytes()
    assert given.stem == "a"
