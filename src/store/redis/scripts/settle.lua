-- settle: KEYS[2…1+n] resources that are held, the others those that the write may have changed besides; ARGV[7] token,
-- [8] n, [9] outcome, [10] rest, [11] [12] name and value of the holder's observation or '', [13] epoch that it was read
-- in, [14] what tells of the tag that was read before the write, as JSON or '', [15] tag in the answer to it, as JSON or
-- ''. Observation, before and tag belong to the first resource.
local token, held, outcome = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local is_unknown = outcome == 'unknown'
local resources = {}
for index = 2, #KEYS do
  resources[#resources + 1] = load(KEYS[index])
end
local first = resources[1]
local kind = held > 0 and held_as(first, token)
-- By compare: a lease that was lost records nothing.
if held > 0 and not kind then
  for _, resource in ipairs(resources) do
    save(resource)
  end
  return { now < rest and 'forgotten' or 'lost', text(now) }
end

-- R3: the holder's observation counts where it was sent under this lease, and an exclusive one, because beside a shared
-- one others write; and no unguarded write is on its way, or came and went since.
local known_since = tonumber(ARGV[13])
local records = held > 0 and ARGV[11] ~= '' and kind == 'x' and not is_unknown and known_since >= void
  and (first.epoch == nil or first.epoch <= known_since) and first.mark == nil

for index, resource in ipairs(resources) do
  local is_held = index <= held
  if outcome == 'changed' or (is_unknown and is_held) then
    local before = index == 1 and is_held and ARGV[14] ~= '' and cjson.decode(ARGV[14]) or nil
    write_over(resource, before)
    if index == 1 and is_held and ARGV[15] ~= '' then
      local given = cjson.decode(ARGV[15])
      given.isWrittenOver = false
      see(resource, added(seen_of(resource), given))
    end
  end
  if outcome == 'rested' then
    see(resource, after_rest(seen_of(resource)))
  end
  -- A mark that changed nothing moves the epoch all the same, so that nobody has to reason about what was read while it
  -- was held.
  local is_as_before = (outcome == 'notSent' or outcome == 'asItWas') and not (is_held and kind == 'm')
  if not is_as_before then
    move(resource)
  end
  if index == 1 and records then
    record(resource, ARGV[11], ARGV[12])
  end
  if is_held then
    if is_unknown then
      -- The gate ends the rest itself; only where it cannot, the time does, a little later.
      hold(resource, token, kind, now + tonumber(ARGV[10]) + 1000)
    else
      free(resource, token, kind)
      wake(resource)
    end
  end
  save(resource)
end
return { 'settled', text(now), text(first.epoch or counter) }
