-- renew: KEYS[2…] resources, ARGV[7] token. A lease that has expired stays so: somebody else may have had it since.
local token = ARGV[7]
local resources = {}
for index = 2, #KEYS do
  local resource = load(KEYS[index])
  resources[#resources + 1] = resource
  if not lease_of(resource, token) then
    for _, other in ipairs(resources) do
      save(other)
    end
    return { 'lost', text(now) }
  end
end
for _, resource in ipairs(resources) do
  hold(resource, token, lease_of(resource, token).kind, now + lease_time)
  save(resource)
end
return { 'renewed', text(now) }
