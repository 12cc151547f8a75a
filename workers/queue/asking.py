"""The scripts by which jobs come into the queues: in the server, so that nothing comes between."""

MOST_WAITING = 100_000  # tasks
RESERVE = 1000  # beyond these, for people who wait
PART = 1000  # tasks of one pipeline: the server is never busy for long, and no buffer grows large

# Check and enqueue in one step. RQ's own `unique=True` was not enough: it cannot be pipelined
# (a thousand round trips), knows nothing of our replies and failures, and refuses a job for as long
# as RQ remembers an earlier run. A SET NX marker beside RQ's job would outlive a crash between the
# two writes, or expire while a long queue still waits. The job's own hash is the one marker that
# exists exactly as long as the job does. An open moves its waiting job to the front. The job also
# holds who asked for it, so that what one of them cancels is not taken from the others. KEYS: job,
# queue, reply, failure, scheduled jobs. ARGV: job, push, field, how many may wait, fields of the
# job. Returns -1 for one that finds no room.
SUBMIT = """
if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then return 0 end
local status = redis.call('HGET', KEYS[1], 'status')
if status and status ~= 'finished' and status ~= 'failed' then
  redis.call('HSET', KEYS[1], ARGV[3], '')
  if ARGV[2] == 'LPUSH' and redis.call('LREM', KEYS[2], 1, ARGV[1]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[1])
  end
  return 0
end
local waiting = redis.call('LLEN', KEYS[2]) + redis.call('ZCARD', KEYS[5])
if waiting >= tonumber(ARGV[4]) then return -1 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[3], '', unpack(ARGV, 5))
redis.call(ARGV[2], KEYS[2], ARGV[1])
return 1
"""

# The same for a delivery, which waits for the result of its segment job where that is to come
# (`workers.queue.handover`). One that waits for its next try goes at once: who asks for it again is
# Label Studio, which is back. KEYS: job, queue, claim, segment job, what waits to be handed over,
# scheduled jobs, reply, failure. ARGV: job, field of the segment job, now, how long a claim waits,
# how many may wait, fields of the job. Returns -1 for one that finds no room.
DELIVER = """
local claim = redis.call('GET', KEYS[3])
if claim and claim ~= 'push' then return 0 end
local status = redis.call('HGET', KEYS[1], 'status')
local lost = status == 'deferred' and not redis.call('ZSCORE', KEYS[5], ARGV[1])
local known = status and status ~= 'finished' and status ~= 'failed' and not lost
local waiting = redis.call('LLEN', KEYS[2])
for i = 5, 6 do waiting = waiting + redis.call('ZCARD', KEYS[i]) end
if not known and waiting >= tonumber(ARGV[5]) then return -1 end
redis.call('SET', KEYS[3], 'push', 'EX', ARGV[4])
if status == 'scheduled' and redis.call('ZREM', KEYS[6], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'status', 'queued')
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
if known then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
local segment = redis.call('HGET', KEYS[4], 'status')
local comes = segment and segment ~= 'finished' and segment ~= 'failed'
if comes and redis.call('EXISTS', KEYS[7], KEYS[8]) == 0 then
  redis.call('HSET', KEYS[1], 'status', 'deferred')
  redis.call('HSET', KEYS[4], ARGV[2], '')
  redis.call('ZADD', KEYS[5], ARGV[3], ARGV[1])
else
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
return 1
"""
