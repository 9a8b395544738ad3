-- One resource: a hash whose fields are
--   epoch            missing: unknown, or forgotten
--   revision         another one whenever views or tags are others: who has a copy need not read them again
--   seen             what is held against tags (V7), as JSON
--   v VIEW DIGEST    an observation: `SENT EXISTS JSON`, SENT in this server's milliseconds
--   l TOKEN          a lease or a mark: `KIND UNTIL`, KIND x (exclusive), s (shared) or m (mark)
--   w TICKET         one who waits for a lease: `KIND PLACE UNTIL`
-- All of it is one key, so that what is in doubt and what is known can only be forgotten together.
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
  resource.has_changed = true
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
  local resource = { key = key, views = {}, leases = {}, waiters = {}, revision = '0' }
  local flat = redis.call('HGETALL', key)
  for index = 1, #flat, 2 do
    local field, value = flat[index], flat[index + 1]
    local kind, name = string.sub(field, 1, 2), string.sub(field, 3)
    if kind == 'v ' then
      local sent, exists, json = string.match(value, '^(%S+) (%d) (.*)$')
      resource.views[#resource.views + 1] =
        { name = name, sent = tonumber(sent), exists = exists, json = json, value = value }
    elseif kind == 'l ' then
      local held, ends = string.match(value, '^(%a) (%S+)$')
      resource.leases[#resource.leases + 1] = { token = name, kind = held, ends = tonumber(ends) }
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

-- A resource as it is now: what is over has ended. A lease or mark that ended without being settled is doubt (S2), and
-- so is everything that was known before an outage (S4).
local function load(key)
  local resource = parsed(key)
  local is_void = resource.epoch ~= nil and resource.epoch < void
  local has_expired = false
  for index = #resource.leases, 1, -1 do
    local lease = resource.leases[index]
    if lease.ends <= now then
      redis.call('HDEL', key, 'l ' .. lease.token)
      table.remove(resource.leases, index)
      has_expired = true
    end
  end
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

local function lease_of(resource, token)
  for index, lease in ipairs(resource.leases) do
    if lease.token == token then
      return lease, index
    end
  end
  return nil
end

local function hold(resource, token, kind, ends)
  local lease, index = lease_of(resource, token)
  resource.leases[index or #resource.leases + 1] = { token = token, kind = kind, ends = ends }
  redis.call('HSET', resource.key, 'l ' .. token, kind .. ' ' .. text(ends))
  resource.is_used = true
  return lease
end

local function free(resource, token)
  local _, index = lease_of(resource, token)
  if index then
    table.remove(resource.leases, index)
    redis.call('HDEL', resource.key, 'l ' .. token)
  end
end

local function has_marks(resource)
  for _, lease in ipairs(resource.leases) do
    if lease.kind == 'm' then
      return true
    end
  end
  return false
end

-- Whether what is read now may be changed by a write that is on its way (R3): one that is known, or one that the server
-- has forgotten.
local function is_doubtful(resource)
  return #resource.leases > 0 or now < rest
end

-- Whether a lease of this kind excludes, or is excluded by, one of those that are held; marks exclude nothing (W16).
local function is_taken(resource, kind)
  for _, lease in ipairs(resource.leases) do
    if lease.kind == 'x' or (lease.kind == 's' and kind == 'x') then
      return true
    end
  end
  return false
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

-- Writes down what has changed. Kept for `kept_for`, and at least as long as anybody holds it.
local function save(resource)
  if resource.has_changed then
    resource.revision = text(next_number())
    redis.call('HSET', resource.key, 'revision', resource.revision, 'epoch', text(resource.epoch or math.max(void, floor)))
    local tags = seen_of(resource)
    if #tags > 0 then
      resource.seen = cjson.encode(tags)
      redis.call('HSET', resource.key, 'seen', resource.seen)
    elseif resource.seen then
      resource.seen = nil
      redis.call('HDEL', resource.key, 'seen')
    end
  end
  if resource.has_changed or resource.is_used then
    local longest = kept_for
    for _, lease in ipairs(resource.leases) do
      longest = math.max(longest, lease.ends - now + 1000)
    end
    redis.call('PEXPIRE', resource.key, math.ceil(longest))
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
