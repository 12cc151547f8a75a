import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import color

from backend.project import label_config
from backend.project.colours import BLUE, GREEN, MORE, ORANGE, SAFE, WISHES, colours, rgb
from samples.studio import LABEL_CONFIG

# Full loss of one cone, on linear RGB (Machado, Oliveira and Fernandes, IEEE TVCG 15:1291, 2009).
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
GROUND = ["#3f4a35", "#6b6f5a", "#8a8578", "#b5a58c", "#5c5c5c", "#9a9a98", "#d8d3c8", "#2b3a3f"]


def fractions(names: list[str]) -> NDArray[np.float64]:
    return np.array([[int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)] for name in names])


def seen_by(values: NDArray[np.float64], matrix: list[list[float]]) -> NDArray[np.float64]:
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    turned = np.clip(linear @ np.array(matrix).T, 0, 1)
    return np.where(turned <= 0.0031308, turned * 12.92, 1.055 * turned ** (1 / 2.4) - 0.055)


def nearest(values: NDArray[np.float64]) -> float:
    lab = color.rgb2lab(values[None])[0]
    steps = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(steps[~np.eye(len(lab), dtype=bool)].min())


def test_the_first_eight_are_told_apart_by_everybody() -> None:
    values = fractions(list(SAFE))
    assert nearest(values) > 25
    for matrix in DEFICIENCIES.values():
        assert nearest(seen_by(values, matrix)) > 10


def test_the_labels_of_the_demo_are_told_apart_by_everybody() -> None:
    values = fractions(list(label_config.parse(LABEL_CONFIG).colours.values()))
    assert len(values) == 5
    plain = np.eye(3).tolist()
    for matrix in (plain, *DEFICIENCIES.values()):
        lab = color.rgb2lab(seen_by(values, matrix)[None])[0]
        steps = color.deltaE_ciede2000(lab[:, None], lab[None])
        # 10 is seen at a glance; the nearest pair has 10.9, road and land without blue cones.
        assert steps[~np.eye(len(lab), dtype=bool)].min() > 10


def test_all_of_them_stand_out_from_the_ground() -> None:
    marks, ground = (color.rgb2lab(fractions(list(x))[None])[0] for x in ((*SAFE, *MORE), GROUND))
    assert np.linalg.norm(marks[:, None] - ground[None], axis=2).min() > 20


def test_known_words_have_their_colours() -> None:
    assert colours(["water"]) == {"water": BLUE}
    assert colours(["Lakes"]) == {"Lakes": BLUE}
    assert colours(["beaches"]) == {"beaches": ORANGE}
    assert colours(["woods"]) == {"woods": GREEN}
    assert set(WISHES) == set(SAFE)


def test_a_label_keeps_its_colour_however_it_is_spelt() -> None:
    for one, other in (("factory", "Factories"), ("mixed use", "mixed/use")):
        assert colours([one])[one] == colours([other])[other]


def test_a_label_keeps_its_colour_beside_others() -> None:
    alone = colours(["quarry"])["quarry"]
    assert colours(["bridge", "quarry", "water", "road"])["quarry"] == alone
    first = colours(["building", "road", "water", "vegetation", "land"])
    assert colours(["land", "water", "building"]) == {
        name: first[name] for name in ("land", "water", "building")
    }


def test_known_words_come_before_strangers() -> None:
    """A stranger whose spelling chooses blue does not take it from the water."""
    stranger = next(w for n in range(99) if colours([w := f"thing {n}"])[w] == BLUE)
    assert colours([stranger, "water"])["water"] == BLUE


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=70))
def test_all_differ(names: list[str]) -> None:
    by_name = colours(names)
    assert list(by_name) == names
    assert len(set(by_name.values())) == len(names)


def test_given_colours_win_and_the_others_keep_clear_of_them() -> None:
    given = {"a": "rgba(1, 2, 3, 0.5)", "b": "no colour", "d": BLUE, "e": "red", "f": ""}
    by_name = colours(["water", *"abcdef"], given)
    assert (by_name["a"], by_name["d"], by_name["e"]) == ("#010203", BLUE, "#ff0000")
    assert len(set(by_name.values())) == 7
    assert colours(["b"], given) == colours(["b"])


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        ("#0072b2", (0, 114, 178)),
        ("#0072b280", (0, 114, 178)),
        ("blue", (0, 0, 255)),
        ("rgb(1, 2, 300)", (1, 2, 255)),
        ("rgba(1, 2, 3, 0.5)", (1, 2, 3)),
        ("hsl(120, 100%, 50%)", (0, 255, 0)),
    ],
)
def test_css_colours_are_read(css: str, expected: tuple[int, int, int]) -> None:
    assert rgb(css) == expected


def test_what_is_no_colour_is_an_error() -> None:
    for text in ("", "no colour", "#12", "rgba()"):
        with pytest.raises(ValueError, match="color"):
            rgb(text)


@pytest.mark.parametrize("count", [1, 8, 44, 300])
def test_there_are_always_enough(count: int) -> None:
    by_name = colours([f"label {n}" for n in range(count)])
    assert len(set(by_name.values())) == count
    assert (set(by_name.values()) <= set(SAFE)) == (count <= 8)
