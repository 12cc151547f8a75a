from backend.project import controls


def test_what_becomes_of_each_kind() -> None:
    assert {kind.form for kind in controls.KINDS.values()} == {
        "brush", "bitmask", "polygon", "rectangle", "ellipse", "vector", "keypoint",
    }  # fmt: skip
    assert controls.MASKS - {*controls.PREDICTED} == {"vectorlabels"}
    assert {"keypointlabels", "rectanglelabels"} == controls.SMART
