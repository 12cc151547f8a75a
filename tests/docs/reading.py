"""What a document says in code: spans in backticks, fenced blocks and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"``(.+?)``|`([^`\n]+)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
NEEDS = re.compile(r"^#\s*Needs\b", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: of its fence; empty for none.
        lines: its lines of text; of a shell, whole commands, without comments.
        needs: its first line is a comment that begins with "Needs": it takes something that a
            fresh checkout has not, such as a Label Studio, and is not run.
    """

    language: str
    lines: tuple[str, ...]
    needs: bool


@dataclass(frozen=True)
class Document:
    """A document in parts.

    Attributes:
        spans: what stands in backticks outside of blocks.
        blocks: in their order.
        targets: of links.
    """

    spans: tuple[str, ...]
    blocks: tuple[Block, ...]
    targets: tuple[str, ...]

    @property
    def commands(self) -> Iterator[str]:
        """All commands of shell blocks."""
        for block in self.blocks:
            if block.language == "sh":
                yield from block.lines


def read(markdown: str) -> Document:
    """Take a document apart."""
    blocks = tuple(_block(match[1], match[2]) for match in FENCE.finditer(markdown))
    prose = FENCE.sub("", markdown)
    spans = tuple((match[1] or match[2]).strip() for match in SPAN.finditer(prose))
    return Document(spans, blocks, tuple(LINK.findall(SPAN.sub("code", prose))))


def _block(language: str, text: str) -> Block:
    needs = NEEDS.match(text) is not None
    if language != "sh":
        return Block(language, tuple(text.splitlines()), needs)
    joined = text.replace("\\\n", " ")
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return Block(language, tuple(line for line in bare if line), needs)
