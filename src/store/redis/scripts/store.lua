-- What every step begins with. KEYS[1]: the bucket; ARGV: see ../steps.ts.
--
-- The bucket counts epochs and revisions, and knows which life of the server its knowledge comes from (S2):
--   incarnation  replication id of the server that the rest was learned on
--   counter      last epoch or revision given; never goes back
--   void         least epoch that still counts: what is known from before an outage does not (S4)
--   rest         until when no lease is given and nothing is recorded, because a lease that is forgotten may be in use
--   began        when that began
--   longest      longest time to live of a lease that a gate gives, and at `seen` gave last
--   floor        counter at `floored`: no resource that was forgotten since then has a higher epoch (S3)
local bucket = KEYS[1]
local lease_time = tonumber(ARGV[4])
local kept_for = tonumber(ARGV[5])
local channel = ARGV[6]

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end

-- Every digit of a double; what is whole takes less than half the time as an integer.
local function text(number)
  return string.format(number % 1 == 0 and '%d' or '%.17g', number)
end

-- A step that was held up on its way, and that nobody waits for any more, must not take a lease.
if ARGV[2] ~= '' and now > tonumber(ARGV[2]) then
  return { 'late', text(now) }
end

local recorded = redis.call('HMGET', bucket, 'incarnation', 'counter', 'void', 'rest', 'floor', 'floored', 'longest', 'seen', 'began')
local counter = tonumber(recorded[2]) or 0
local void = tonumber(recorded[3]) or 0
local rest = tonumber(recorded[4]) or 0
local floor = tonumber(recorded[5]) or 0
local floored = tonumber(recorded[6]) or 0

local longest = tonumber(recorded[7]) or 0
local seen_at = tonumber(recorded[8]) or 0
-- Gates that give longer leases than this one are gone when none has been here for twice as long.
if lease_time > longest or (lease_time < longest and now - seen_at > 2 * longest) then
  longest = lease_time
  seen_at = 0
  if now < rest then
    rest = math.max(rest, (tonumber(recorded[9]) or 0) + longest)
  end
  redis.call('HSET', bucket, 'longest', text(longest), 'rest', text(rest))
end
if lease_time == longest and now - seen_at > longest / 2 then
  redis.call('HSET', bucket, 'seen', text(now))
end

-- Found by its name first: a pattern would be held against every letter before it.
local replication = redis.call('INFO', 'replication')
local found = string.find(replication, 'master_replid:', 1, true)
local incarnation = string.match(replication, '^master_replid:(%x+)', found) or ''
if recorded[1] ~= incarnation then
  -- Empty, restarted or failed over: leases may be forgotten that are still in use, and writes that were recorded. Time
  -- runs on while a server is away, so the counter does not go back even where it was lost.
  counter = math.max(counter, math.floor(now * 1000)) + 1
  void = counter
  rest = now + longest
  redis.call('HSET', bucket, 'incarnation', incarnation, 'counter', text(counter), 'void', text(void), 'rest', text(rest),
    'began', text(now))
elseif ARGV[3] == '1' then
  counter = redis.call('HINCRBY', bucket, 'counter', 1)
  void = counter
  redis.call('HSET', bucket, 'void', text(void))
end

-- Renewed twice in the time that a version is kept: whatever has been forgotten by now moved before that.
if now - floored > kept_for / 2 then
  floor = redis.call('HINCRBY', bucket, 'counter', 1)
  counter = floor
  floored = now
  redis.call('HSET', bucket, 'floor', text(floor), 'floored', text(floored))
end

local function next_number()
  counter = redis.call('HINCRBY', bucket, 'counter', 1)
  return counter
end
