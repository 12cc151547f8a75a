"""A demo project that an earlier `make studio` made → the label config and instruction of this one.

Only where nothing of a person's is lost: the label config is one that a demo wrote, to the letter,
and nobody has annotated anything with it.
"""

import hashlib

from backend.commands.demo.processes import StartError
from samples.servers import Studio

# SHA-256 of all label configs that a demo wrote, oldest first, as Label Studio keeps them: without
# white space at the ends. Whoever changes the demo's appends the new one.
WRITTEN = (
    "5753a5c40f2c09a78badf45f40ecd3d89e3f8473a38e9cca78a7ed5723e463f6",
    "3ee83a542468627a9175873a621e9932ed89e3780aba0f8d73648147676b564e",
    "c5760c42e07ba14fc2aba13a27e226c48ad5fca3a35fbdbd2438d93c13841283",
    "1bc4a4c0dc23a7004b46f6b875ada574c752084e76ed66d479341e59cb761307",
    "38982184db65900983d8fc6065116142ae9c5d372cc04fcf79cb0ca144ff3ca9",
    "acf146635404c7f51577d5407a757a0cb110603dadaf52e679bcd0e743f9df1c",
)


def update(studio: Studio, project: int, label_config: str, instruction: str) -> str:
    """Give a demo project this demo's label config and instruction, where both are due.

    Args:
        studio: a running Label Studio.
        project: id of the demo project.
        label_config: XML.
        instruction: HTML for annotators.

    Returns:
        Why the project stays as it is, and the way out; empty when there is nothing to say.
    """
    stands = studio.api("GET", f"/api/projects/{project}/")
    digest = digest_of(stands["label_config"])
    if digest == digest_of(label_config):
        return ""
    if digest not in WRITTEN:
        return _kept("its label config is none that a demo wrote")
    if count := stands["total_annotations_number"] + stands["skipped_annotations_number"]:
        return _kept(f"it has {count} annotation{'s' if count > 1 else ''}")
    body = {
        "label_config": label_config,
        "expert_instruction": instruction,
        "show_instruction": True,
    }
    try:
        studio.api("PATCH", f"/api/projects/{project}/", json=body)
    except StartError as error:  # as for the sake of drafts
        return _kept(" ".join(str(error).split()))
    return ""


def digest_of(label_config: str) -> str:
    """The SHA-256, in hexadecimal, of a label config as Label Studio keeps it."""
    return hashlib.sha256(label_config.strip().encode()).hexdigest()


def _kept(cause: str) -> str:
    return (
        f"The demo project keeps its label config and instruction, since {cause}; to get today's, "
        "rename or delete the project in Label Studio and start again."
    )
