"""Where a project's prototypes are kept: one share for each annotation, in Redis.

A revision is the hash of all shares, not a count: taking a bad annotation back brings back the
former revision, and with it the predictions and replies that were made under it.

    dgl:prototypes              projects that learnt something or were switched off
    dgl:prototypes:P:off        exists: the project does not learn, nor use what it learnt
    dgl:prototypes:P:stamps     annotation → the newest change known, microseconds
    dgl:prototypes:P:tasks      annotation → task
    dgl:prototypes:P:shares     annotation → share, as `workers.queue.shares` packs it
    dgl:prototypes:P:digests    annotation → hash of its share
    dgl:prototypes:P:revision   hash of those; absent without a share

Every change is one script, so two workers that learn at once cannot lose each other's share; the
stamps drop what an older event brings late.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from redis import Redis

from workers.queue import notes
from workers.queue.shares import examples

PROJECTS_KEY = "dgl:prototypes"
MOST_BYTES = 16 * 2**20  # of a project's shares; beyond, the oldest annotations go
GONE = 2**62  # stamp of an annotation that was deleted: newer than any change
KINDS = ("stamps", "tasks", "shares", "digests", "revision")  # in the order of `_REMOVE`

_REVISE = """
local function revise(digests, revision)
  local held = redis.call('HGETALL', digests)
  local lines = {}
  for i = 1, #held, 2 do lines[#lines + 1] = held[i] .. '=' .. held[i + 1] end
  if #lines == 0 then redis.call('DEL', revision) return '' end
  table.sort(lines)
  local current = string.sub(redis.sha1hex(table.concat(lines, ';')), 1, 8)
  redis.call('SET', revision, current)
  return current
end
"""

# KEYS: stamps, tasks, projects. ARGV: annotation, stamp, task, project.
_EXPECT = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and tonumber(known) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[4])
return 1
"""

# KEYS: stamps, shares, digests, revision. ARGV: annotation, stamp, share, digest, bytes. An empty
# share takes the annotation's former one away.
_PUT = (
    _REVISE
    + """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return false end
if #ARGV[3] == 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
end
local held, total = {}, 0
for _, annotation in ipairs(redis.call('HKEYS', KEYS[2])) do
  local size = redis.call('HSTRLEN', KEYS[2], annotation)
  local stamp = tonumber(redis.call('HGET', KEYS[1], annotation) or '0')
  held[#held + 1] = {stamp, annotation, size}
  total = total + size
end
table.sort(held, function(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  return a[2] < b[2]
end)
for _, oldest in ipairs(held) do
  if total <= tonumber(ARGV[5]) then break end
  redis.call('HDEL', KEYS[2], oldest[2])
  redis.call('HDEL', KEYS[3], oldest[2])
  total = total - oldest[3]
end
return revise(KEYS[3], KEYS[4])
"""
)

# KEYS: stamps, tasks, shares, digests, revision. ARGV: stamp of what is gone, annotations.
_REMOVE = (
    _REVISE
    + """
for i = 2, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[1])
  for key = 2, 4 do redis.call('HDEL', KEYS[key], ARGV[i]) end
end
return revise(KEYS[4], KEYS[5])
"""
)


@dataclass(frozen=True)
class Learnt:
    """What is kept of a project.

    Attributes:
        project: Label Studio's id.
        off: it is switched off.
        revision: of the shares; empty when there are none.
        annotations: that have a share, by id.
        nbytes: of their shares.
        others: annotations that have none: still to be learnt from, or nothing was in them.
        examples: how many of each class there are over all annotations, most first.
        tasks: the task of every annotation, by ids; also of those without a share.
    """

    project: str
    off: bool
    revision: str
    annotations: tuple[str, ...]
    nbytes: int
    others: int
    examples: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Amount:
    """How much is kept of a project, without reading it.

    Attributes:
        annotations: how many have a share.
        off: it is switched off.
    """

    annotations: int
    off: bool


class PrototypeStore:
    """Shares of projects; what changes them is one script of Redis.

    Args:
        redis: the queue's server; without `decode_responses`.
        max_bytes: of the shares of a project.
    """

    def __init__(self, redis: Redis, max_bytes: int = MOST_BYTES) -> None:
        self._redis = redis
        self._max_bytes = max_bytes
        self._expect = redis.register_script(_EXPECT)
        self._put = redis.register_script(_PUT)
        self._remove = redis.register_script(_REMOVE)

    def revision(self, project: str) -> str:
        """Of what would be used now; empty where there is nothing, or it is switched off."""
        off, revision = self._redis.mget(_key(project, "off"), _key(project, "revision"))
        return "" if off is not None or revision is None else notes.text(revision)

    def is_off(self, project: str) -> bool:
        """Whether the project is switched off."""
        return bool(self._redis.exists(_key(project, "off")))

    def expect(self, project: str, annotation: str, stamp: int, task: str) -> bool:
        """Note that an annotation was changed; False when a newer change is known."""
        keys = [_key(project, "stamps"), _key(project, "tasks"), PROJECTS_KEY]
        return bool(self._expect(keys, [annotation, stamp, task, project]))

    def is_current(self, project: str, annotation: str, stamp: int) -> bool:
        """Whether no newer change is known, and it was not taken back."""
        known = self._redis.hget(_key(project, "stamps"), annotation)
        return known is not None and int(known) == stamp

    def put(self, project: str, annotation: str, stamp: int, share: bytes) -> str | None:
        """Replace an annotation's share; an empty one takes it away.

        Returns:
            The new revision, or None when the annotation was changed or taken back meanwhile.
        """
        keys = [_key(project, kind) for kind in ("stamps", "shares", "digests", "revision")]
        digest = hashlib.sha256(share).hexdigest()[:16]
        revision = self._put(keys, [annotation, stamp, share, digest, self._max_bytes])
        return None if revision is None else notes.text(revision)

    def remove(self, project: str, annotations: Sequence[str]) -> None:
        """Take annotations back, for good: they were deleted."""
        if annotations:
            self._remove([_key(project, kind) for kind in KINDS], [GONE, *annotations])

    def tasks(self, project: str) -> Mapping[str, str]:
        """The annotations that are known, each with its task, by ids."""
        held = self._redis.hgetall(_key(project, "tasks"))
        return {notes.text(annotation): notes.text(task) for annotation, task in held.items()}

    def shares(self, project: str) -> tuple[str, Mapping[str, bytes]]:
        """The revision, and the shares of all annotations by id, as of one moment."""
        with self._redis.pipeline() as pipe:
            pipe.get(_key(project, "revision"))
            pipe.hgetall(_key(project, "shares"))
            revision, held = pipe.execute()
        shares = {notes.text(annotation): share for annotation, share in held.items()}
        return "" if revision is None else notes.text(revision), shares

    def projects(self) -> list[str]:
        """Those that learnt something or were switched off."""
        return sorted(
            (notes.text(each) for each in self._redis.smembers(PROJECTS_KEY)), key=by_number
        )

    def amounts(self, projects: Sequence[str]) -> list[Amount]:
        """How much is kept of each of some projects, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for project in projects:
                pipe.hlen(_key(project, "shares"))
                pipe.exists(_key(project, "off"))
            held = pipe.execute()
        return [Amount(n, bool(off)) for n, off in zip(held[::2], held[1::2], strict=True)]

    def learnt(self, project: str) -> Learnt:
        """How a project stands."""
        revision, shares = self.shares(project)
        tasks = self.tasks(project)
        return Learnt(
            project=project,
            off=self.is_off(project),
            revision=revision,
            annotations=tuple(sorted(shares, key=by_number)),
            nbytes=sum(map(len, shares.values())),
            others=len(tasks.keys() - shares.keys()),
            examples=examples(shares),
            tasks=tasks,
        )

    def switch(self, project: str, *, on: bool) -> None:
        """Let a project learn and use what it learnt, or not. What it learnt stays."""
        if on:
            self._redis.delete(_key(project, "off"))
        else:
            self._redis.set(_key(project, "off"), 1)
            self._redis.sadd(PROJECTS_KEY, project)

    def reset(self, project: str) -> None:
        """Forget all that a project learnt; what is still being learnt is dropped, too."""
        self._redis.delete(*(_key(project, kind) for kind in KINDS))
        if not self.is_off(project):
            self._redis.srem(PROJECTS_KEY, project)


def _key(project: str, kind: str) -> str:
    return f"{PROJECTS_KEY}:{project}:{kind}"


def by_number(number: str) -> tuple[int, str]:
    """Ids by number, where they are numbers."""
    return (int(number) if number.isdecimal() else 0, number)
