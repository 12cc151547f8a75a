"""What a document says in code: spans in backticks, fenced blocks and links."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent

FENCE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>\w*)[^\n]*\n"
    r"(?P<text>.*?)^[ \t]*(?P=fence)",
    re.M | re.S,
)
SHELLS = ("sh", "bash", "shell")
SPAN = re.compile(r"``(.+?)``|`([^`\n]+)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.M)
LINKED = re.compile(r"\[([^\]]*)\]\([^)]*\)")
NEEDS = re.compile(r"^#\s*Needs\b", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: of its fence, "sh" for any shell; empty for none.
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
        anchors: of its headings, as GitHub makes them.
    """

    spans: tuple[str, ...]
    blocks: tuple[Block, ...]
    targets: tuple[str, ...]
    anchors: frozenset[str]

    @property
    def commands(self) -> Iterator[str]:
        """All commands of shell blocks."""
        for block in self.blocks:
            if block.language == "sh":
                yield from block.lines


def read(markdown: str) -> Document:
    """Take a document apart."""
    blocks = tuple(_block(m["language"], dedent(m["text"])) for m in FENCE.finditer(markdown))
    prose = FENCE.sub("", markdown)
    spans = tuple((match[1] or match[2]).strip() for match in SPAN.finditer(prose))
    targets = tuple(LINK.findall(SPAN.sub("code", prose)))
    return Document(spans, blocks, targets, frozenset(_anchors(prose)))


def _anchors(prose: str) -> Iterator[str]:
    """`## Add a reader!` → `add-a-reader`; the second of that name has `-1` behind."""
    seen: Counter[str] = Counter()
    for heading in HEADING.findall(prose):
        words = re.sub(r"[^\w\- ]", "", LINKED.sub(r"\1", heading).strip().lower())
        anchor = words.replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1


def _block(language: str, text: str) -> Block:
    needs = NEEDS.match(text) is not None
    if language not in SHELLS:
        return Block(language, tuple(text.splitlines()), needs)
    joined = text.replace("\\\n", " ")
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return Block("sh", tuple(line for line in bare if line), needs)
