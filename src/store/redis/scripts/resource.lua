-- One resource: a hash and, while there are any, two sorted sets beside it in the same slot, by the time at which they end:
-- `KEY:l` has the leases (members x or s for exclusive and shared, and the token), `KEY:m` the marks (tokens). What is held
-- is never read whole: there may be thousands of marks. Of each set one is known, if there is any, as `lease` and `mark`.
-- The sets outlive the hash, so that nothing is known of which it is forgotten that it is in doubt. Fields of the hash:
--   epoch            missing: unknown, or forgotten
--   revision         another one whenever views or tags are others: who has a copy need not read them again
--   seen             what is held against tags (V7), as JSON
--   v VIEW DIGEST    an observation: `SENT EXISTS JSON`, SENT in this server's milliseconds
--   w TICKET         one who waits for a lease: `KIND PLACE UNTIL`
local views_per_resource = 16

local function seen_of(resource)
  if resource.tags == nil then
    resource.tags = resource.seen and cjson.decode(resource.seen) or {}
  end
  return resource.tags
end

local function see(resource, tags)
  if tags ~= resource.tags then
    resource.tags = tags
    resource.has_changed = true
  end
end

local function observations_of(resource)
  local observations = {}
  for index, view in ipairs(resource.views) do
    observations[index] = cjson.decode(view.json)
  end
  return observations
end

-- New epoch, no views: what was known, and what is still being read, counts no more.
local function move(resource)
  see(resource, after_doubt(seen_of(resource), observations_of(resource)))
  for _, view in ipairs(resource.views) do
    redis.call('HDEL', resource.key, 'v ' .. view.name)
  end
  resource.views = {}
  resource.epoch = next_number()
  resource.has_moved, resource.has_changed = true, true
end

-- V7: a write that was not refused has come over all that was known.
local function write_over(resource, before)
  local observations = observations_of(resource)
  if before then
    observations[#observations + 1] = before
  end
  see(resource, after_write(seen_of(resource), observations))
end

local function parsed(key)
  local resource = { key = key, leases = key .. ':l', marks = key .. ':m', views = {}, waiters = {}, revision = '0' }
  local flat = redis.call('HGETALL', key)
  for index = 1, #flat, 2 do
    local field, value = flat[index], flat[index + 1]
    local kind, name = string.sub(field, 1, 2), string.sub(field, 3)
    if kind == 'v ' then
      local sent, exists, json = string.match(value, '^(%S+) (%d) (.*)$')
      resource.views[#resource.views + 1] =
        { name = name, sent = tonumber(sent), exists = exists, json = json, value = value }
    elseif kind == 'w ' then
      local wanted, place, ends = string.match(value, '^(%a) (%S+) (%S+)$')
      resource.waiters[#resource.waiters + 1] =
        { ticket = name, kind = wanted, place = tonumber(place), ends = tonumber(ends) }
    elseif field == 'epoch' then
      resource.epoch = tonumber(value)
    elseif field == 'revision' then
      resource.revision = value
    elseif field == 'seen' then
      resource.seen = value
    end
  end
  return resource
end

local function one_of(set)
  return redis.call('ZRANGE', set, 0, 0)[1]
end

-- Ends what is over in one of the sets. Nothing is written where nothing is: after its first write a script goes on where
-- there is no memory left, and one that asks for a lease must not. Tells whether anything has ended, and one of the rest.
local function ends_expired(set)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[2] == nil or tonumber(first[2]) > now then
    return false, first[1]
  end
  redis.call('ZREMRANGEBYSCORE', set, '-inf', text(now))
  return true, one_of(set)
end

-- A resource as it is now: what is over has ended. A lease or mark that ended without being settled is doubt (S2), and
-- so is everything that was known before an outage (S4).
local function load(key)
  local resource = parsed(key)
  local is_void = resource.epoch ~= nil and resource.epoch < void
  local lease_ended, lease = ends_expired(resource.leases)
  local mark_ended, mark = ends_expired(resource.marks)
  resource.lease, resource.mark = lease, mark
  local has_expired = lease_ended or mark_ended
  for index = #resource.waiters, 1, -1 do
    local waiter = resource.waiters[index]
    if waiter.ends <= now then
      redis.call('HDEL', key, 'w ' .. waiter.ticket)
      table.remove(resource.waiters, index)
    end
  end
  if has_expired or is_void then
    write_over(resource)
    move(resource)
  end
  return resource
end

-- How something is held, and until when: x, s or m (mark).
local function held_as(resource, token)
  for _, kind in ipairs({ 'x', 's' }) do
    local ends = redis.call('ZSCORE', resource.leases, kind .. token)
    if ends then
      return kind, tonumber(ends)
    end
  end
  local ends = redis.call('ZSCORE', resource.marks, token)
  if ends then
    return 'm', tonumber(ends)
  end
  return nil
end

local function hold(resource, token, kind, ends)
  if kind == 'm' then
    redis.call('ZADD', resource.marks, text(ends), token)
    resource.mark = resource.mark or token
  else
    redis.call('ZADD', resource.leases, text(ends), kind .. token)
    resource.lease = resource.lease or kind .. token
  end
  resource.is_used = true
end

local function free(resource, token, kind)
  if kind == 'm' then
    redis.call('ZREM', resource.marks, token)
    resource.mark = one_of(resource.marks)
  else
    redis.call('ZREM', resource.leases, kind .. token)
    resource.lease = one_of(resource.leases)
  end
end

-- Whether what is read now may be changed by a write that is on its way (R3): one that is known, or one that the server
-- has forgotten.
local function is_doubtful(resource)
  return now < rest or resource.lease ~= nil or resource.mark ~= nil
end

-- Whether a lease of this kind excludes, or is excluded by, one of those that are held; marks exclude nothing (W16).
local function is_taken(resource, kind)
  return resource.lease ~= nil and (kind == 'x' or string.sub(resource.lease, 1, 1) == 'x')
end

-- W3, first come first served among the gates: each has the first of its own line here. Who has no place in the line
-- has all of it ahead.
local function is_free(resource, kind, ticket)
  if is_taken(resource, kind) then
    return false
  end
  local place = math.huge
  for _, waiter in ipairs(resource.waiters) do
    if waiter.ticket == ticket then
      place = waiter.place
    end
  end
  for _, waiter in ipairs(resource.waiters) do
    if waiter.place < place and (kind == 'x' or waiter.kind == 'x') then
      return false
    end
  end
  return true
end

-- Tells those whose turn it is.
local function wake(resource)
  if #resource.waiters == 0 then
    return
  end
  table.sort(resource.waiters, function(one, other)
    return one.place < other.place
  end)
  local tickets = {}
  for _, waiter in ipairs(resource.waiters) do
    if is_taken(resource, waiter.kind) or (waiter.kind == 'x' and #tickets > 0) then
      break
    end
    tickets[#tickets + 1] = waiter.ticket
    if waiter.kind == 'x' then
      break
    end
  end
  if #tickets > 0 then
    redis.call('PUBLISH', channel, table.concat(tickets, ' '))
  end
end

-- R3: false, and nothing recorded, where something sent later is known, or as much as is kept and all of it later.
local function record(resource, name, value)
  local sent, exists, json = string.match(value, '^(%S+) (%d) (.*)$')
  local observation = { name = name, sent = tonumber(sent), exists = exists, json = json, value = value }
  local owner = string.match(name, '^%S+')
  local others, gone = {}, {}
  for _, view in ipairs(resource.views) do
    if view.name == name then
      if view.sent > observation.sent then
        return false
      end
    elseif string.match(view.name, '^%S+') == owner and view.exists ~= exists and view.sent < observation.sent then
      -- A later read of the same view found a resource where there was none, or the other way round.
      gone[#gone + 1] = view
    else
      others[#others + 1] = view
    end
  end
  if #others >= views_per_resource then
    local oldest = 1
    for index, view in ipairs(others) do
      if view.sent < others[oldest].sent then
        oldest = index
      end
    end
    if others[oldest].sent > observation.sent then
      return false
    end
    gone[#gone + 1] = table.remove(others, oldest)
  end
  for _, view in ipairs(gone) do
    redis.call('HDEL', resource.key, 'v ' .. view.name)
  end
  redis.call('HSET', resource.key, 'v ' .. name, value)
  others[#others + 1] = observation
  resource.views = others
  resource.has_changed = true
  -- Known from now on, with the least epoch that counts: nothing that is remembered has moved it.
  resource.epoch = resource.epoch or math.max(void, floor)
  if resource.seen or resource.tags then
    see(resource, after_read(seen_of(resource), cjson.decode(json)))
  end
  return true
end

-- Kept for `kept_for`, and at least as long as anybody holds it.
local function keep(set)
  local last = redis.call('ZRANGE', set, -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIRE', set, math.ceil(kept_for + math.max(longest, tonumber(last) - now)))
end

-- Writes down what has changed.
local function save(resource)
  if resource.has_changed then
    resource.revision = text(resource.has_moved and resource.epoch or next_number())
    local known = { 'revision', resource.revision, 'epoch', text(resource.epoch or math.max(void, floor)) }
    local tags = seen_of(resource)
    if #tags > 0 then
      resource.seen = cjson.encode(tags)
      known[5], known[6] = 'seen', resource.seen
    elseif resource.seen then
      resource.seen = nil
      redis.call('HDEL', resource.key, 'seen')
    end
    redis.call('HSET', resource.key, unpack(known))
  end
  if resource.has_changed or resource.is_used then
    redis.call('PEXPIRE', resource.key, math.ceil(kept_for))
    if resource.lease then
      keep(resource.leases)
    end
    if resource.mark then
      keep(resource.marks)
    end
  end
end

-- What a gate is told of a resource; only that nothing has changed where it has a copy.
local function told(answer, resource, copy)
  answer[#answer + 1] = text(resource.epoch or counter)
  answer[#answer + 1] = is_doubtful(resource) and '1' or '0'
  answer[#answer + 1] = resource.revision
  if resource.revision ~= copy then
    answer[#answer + 1] = resource.seen or ''
    for _, view in ipairs(resource.views) do
      answer[#answer + 1] = view.value
    end
  end
  return answer
end
