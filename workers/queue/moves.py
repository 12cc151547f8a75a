"""The scripts that move tasks in the ledger: in the server, so that nothing comes between.

How a task is written: the letter of its state, 16 bytes of the request's key, 32 of the config's
digest, 4 of the time at which it was asked for; zeros for none.
"""

LETTERS = "qwadfgc"  # queued, delivery, answered, delivered, failed, given up, cancelled

# KEYS: projects, tasks, reasons, then a set for each letter.
_COMMON = """
local letters = 'qwadfgc'
local function set_of(letter) return KEYS[3 + string.find(letters, letter, 1, true)] end
local function is_done(letter) return letter == 'a' or letter == 'd' end
local function is_open(letter) return letter == 'q' or letter == 'w' end
local function drop(key, tasks)
  for _, task in ipairs(tasks) do
    redis.call('ZREM', key, task)
    redis.call('HDEL', KEYS[2], task)
    redis.call('HDEL', KEYS[3], task)
  end
end
local function move(task, old, letter, tail, now, reason)
  if old and string.sub(old, 1, 1) ~= letter then
    redis.call('ZREM', set_of(string.sub(old, 1, 1)), task)
  end
  redis.call('ZADD', set_of(letter), now, task)
  redis.call('HSET', KEYS[2], task, letter .. tail)
  if #reason > 0 then redis.call('HSET', KEYS[3], task, reason)
  elseif old then redis.call('HDEL', KEYS[3], task) end
end
local function touch(now, project, kept, most)
  redis.call('ZADD', KEYS[1], now, project)
  for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], kept) end
  while redis.call('ZCARD', KEYS[1]) > most do
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
    redis.call('ZREM', KEYS[1], oldest)
    for i = 2, #KEYS do
      local suffix = string.sub(KEYS[i], #KEYS[1] + 2 + #project)
      redis.call('DEL', KEYS[1] .. ':' .. oldest .. suffix)
    end
  end
end
"""

# ARGV: now, project, seconds kept, most projects, most tasks, whether what is done is asked for
# anew, seconds that a key lives, then a task and its key, config and time for each.
ASK = (
    _COMMON
    + """
local now, nothing = ARGV[1], string.rep('\\0', 32)
for i = 8, #ARGV, 2 do
  local task, tail = ARGV[i], ARGV[i + 1]
  local old = redis.call('HGET', KEYS[2], task)
  local same = old and string.sub(old, 2, 17) == string.sub(tail, 1, 16)
  if same and string.sub(tail, 17, 48) == nothing then
    tail = string.sub(tail, 1, 16) .. string.sub(old, 18, 49) .. string.sub(tail, 49)
  end
  local letter = old and string.sub(old, 1, 1)
  if same and (is_open(letter) or (ARGV[6] == '0' and is_done(letter))) then
    redis.call('HSET', KEYS[2], task, letter .. string.sub(tail, 1, 48) .. string.sub(old, 50))
  else
    move(task, old, 'q', tail, now, '')
  end
end
for letter in string.gmatch('adfgc', '.') do
  local key = set_of(letter)
  drop(key, redis.call('ZRANGEBYSCORE', key, '-inf', now - ARGV[3], 'LIMIT', 0, 1000))
end
for letter in string.gmatch('adcfgwq', '.') do
  local excess = math.min(redis.call('HLEN', KEYS[2]) - ARGV[5], 1000)
  if excess > 0 then
    drop(set_of(letter), redis.call('ZRANGE', set_of(letter), 0, excess - 1))
  end
end
touch(now, ARGV[2], ARGV[7], tonumber(ARGV[4]))
"""
)

# ARGV: now, project, seconds that a key lives, most projects, what a task without a request has,
# then task, key, letter and reason for each. Only a new request takes a task out of what is done;
# what is cancelled may turn out to have been done. Returns how many were moved.
SETTLE = (
    _COMMON
    + """
local moved = 0
for i = 6, #ARGV, 4 do
  local task, key, new, reason = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local old = redis.call('HGET', KEYS[2], task)
  local letter = old and string.sub(old, 1, 1)
  if #key == 0 then
    move(task, old, new, ARGV[5], ARGV[1], reason)
    moved = moved + 1
  elseif old and string.sub(old, 2, 17) == key and not is_done(letter)
      and (letter ~= 'c' or is_done(new)) then
    move(task, old, new, string.sub(old, 2), ARGV[1], reason)
    moved = moved + 1
  end
end
if moved > 0 then touch(ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])) end
return moved
"""
)
