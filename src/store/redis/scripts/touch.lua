-- touch: KEYS[2…] resources, ARGV[7] token, [8] revision of the copy of the first one. Nobody waits for a mark (W16).
local answer = { 'marked', text(now) }
for index = 2, #KEYS do
  local resource = load(KEYS[index])
  hold(resource, ARGV[7], 'm', now + lease_time)
  move(resource)
  save(resource)
  if index == 2 then
    told(answer, resource, ARGV[8])
  end
end
return answer
