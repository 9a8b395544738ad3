-- acquire: KEYS[2…] resources, ARGV[7] token, [8] kind, [9] ticket or '', [10] how long a place in line is kept,
-- [11] revision of the copy of the first resource. All are leased or none (I7).
if now < rest then
  return { 'resting', text(now), text(rest - now) }
end
local token, kind, ticket = ARGV[7], ARGV[8], ARGV[9]
local resources = {}
local all_free = true
for index = 2, #KEYS do
  local resource = load(KEYS[index])
  resources[#resources + 1] = resource
  all_free = all_free and is_free(resource, kind, ticket)
end
for _, resource in ipairs(resources) do
  if all_free then
    hold(resource, token, kind, now + lease_time)
    for index = #resource.waiters, 1, -1 do
      if resource.waiters[index].ticket == ticket then
        redis.call('HDEL', resource.key, 'w ' .. ticket)
        table.remove(resource.waiters, index)
      end
    end
    -- Shared leases are given side by side.
    if kind == 's' then
      wake(resource)
    end
  elseif ticket ~= '' then
    local place = nil
    for _, waiter in ipairs(resource.waiters) do
      if waiter.ticket == ticket then
        place = waiter.place
      end
    end
    place = place or next_number()
    redis.call('HSET', resource.key, 'w ' .. ticket, kind .. ' ' .. text(place) .. ' ' .. text(now + tonumber(ARGV[10])))
    resource.is_used = true
  end
  save(resource)
end
if all_free then
  return told({ 'acquired', text(now) }, resources[1], ARGV[11])
end
return { 'busy', text(now) }
