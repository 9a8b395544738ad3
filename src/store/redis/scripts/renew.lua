-- renew: KEYS[2…] resources, ARGV[7] token. A lease that has expired stays so: somebody else may have had it since. Where
-- the server has forgotten it, nobody has while it rests.
local token = ARGV[7]
local resources = {}
for index = 2, #KEYS do
  local resource = load(KEYS[index])
  resources[#resources + 1] = resource
  if not held_as(resource, token) then
    for _, other in ipairs(resources) do
      save(other)
    end
    return { now < rest and 'forgotten' or 'lost', text(now) }
  end
end
for _, resource in ipairs(resources) do
  local kind = held_as(resource, token)
  hold(resource, token, kind, now + lease_time)
  save(resource)
end
return { 'renewed', text(now) }
