-- epoch: KEYS[2] the resource, ARGV[7] revision of the copy of it.
local resource = load(KEYS[2])
save(resource)
return told({ 'known', text(now) }, resource, ARGV[7])
