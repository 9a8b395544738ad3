-- leave: KEYS[2…] resources, ARGV[7] ticket: its owner waits no more.
for index = 2, #KEYS do
  local resource = load(KEYS[index])
  redis.call('HDEL', resource.key, 'w ' .. ARGV[7])
  for place = #resource.waiters, 1, -1 do
    if resource.waiters[place].ticket == ARGV[7] then
      table.remove(resource.waiters, place)
    end
  end
  wake(resource)
  save(resource)
end
return { 'left', text(now) }
