"""Where a task holds its image, or several: an <Image> with a value, a valueList, or a <Repeater>.

Of a valueList all pictures belong to one control, and each region says by `item_index`, from 0,
which it is on. A <Repeater> makes a control of its own for each picture, whose number stands in the
names: "mask_{{idx}}" becomes "mask_0".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.project.tasks import TaskError, image_of, look_up
from dgl_rsis.types import Json

MOST_PICTURES = 100  # one job has all pictures of a task
INDEX_FLAG = "{{idx}}"  # what stands for the number, where the config names nothing else


@dataclass(frozen=True)
class Pictures:
    """Where tasks hold their pictures.

    Attributes:
        key: of a picture in the task's data, such as "image", or "images[{{idx}}]" of several.
        listed: key of the list of all of them; empty where a task has one picture.
        flag: what stands for a picture's number in keys and names.
        repeated: the number stands in the names of controls, too; else regions have `item_index`.
        image: name of the <Image> that shows them; empty when that is not known.
        others: names of further images of the config.
    """

    key: str = ""
    listed: str = ""
    flag: str = INDEX_FLAG
    repeated: bool = False
    image: str = ""
    others: frozenset[str] = frozenset()

    def of(self, task: Mapping[str, Any]) -> Sequence[str]:
        """References of the pictures of a task, at least one.

        Raises:
            TaskError: none, too many, or one that is no reference.
        """
        if not self.listed:
            return [image_of(task, self.key)]
        listed = look_up(task.get("data"), self.listed)
        if not isinstance(listed, list) or not listed:
            held = "has nothing" if not listed else f"has {type(listed).__name__}"
            raise TaskError(
                f"The task's data {held} under '{self.listed}', where the label config expects a "
                "list of images."
            )
        if len(listed) > MOST_PICTURES:
            raise TaskError(
                f"The task has {len(listed)} images under '{self.listed}'; at most "
                f"{MOST_PICTURES} of a task are pre-labelled: import them as several tasks."
            )
        return [image_of(task, self.numbered(self.key, each)) for each in range(len(listed))]

    def data(self, reference: str) -> Json:
        """The data of a task with one picture."""
        if not self.listed:
            return {self.key: reference}
        path = self.key.partition(f"[{self.flag}]")[2].lstrip(".")
        return {self.listed: [{path: reference} if path else reference]}

    def numbered(self, text: str, number: int) -> str:
        """A key or name of one picture."""
        return text.replace(self.flag, str(number))

    def name(self, text: str, number: int) -> str:
        """The name of a control or an image as the regions of one picture have it."""
        return self.numbered(text, number) if self.repeated else text

    def place(self, number: int) -> Json:
        """What else the regions of one picture say."""
        return {"item_index": number} if self.listed and not self.repeated else {}

    def number_of(self, region: Json, count: int) -> int | None:
        """Which picture a region is on, from 0; None for none of them.

        Args:
            region: as Label Studio has it.
            count: how many pictures the task has.
        """
        image = region.get("to_name")
        if self.repeated:
            names = (self.name(self.image, number) for number in range(count))
            return next((number for number, name in enumerate(names) if name == image), None)
        if self.others and image is not None and image != self.image:
            return None  # a single image may have been renamed since
        number = region.get("item_index") or 0
        held = isinstance(number, int) and 0 <= number < count
        return number if held or not self.listed else None
