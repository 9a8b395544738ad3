-- observe: KEYS[2] the resource, ARGV[7] epoch that the read began with, [8] [9] name and value of the observation.
local resource = load(KEYS[2])
local began = tonumber(ARGV[7])
local has_moved = began < math.max(void, resource.epoch or floor) or began > counter
local is_recorded = not is_doubtful(resource) and not has_moved and record(resource, ARGV[8], ARGV[9])
save(resource)
return { is_recorded and 'recorded' or 'dropped', text(now) }
