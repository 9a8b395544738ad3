-- What is held against the upstream's own tags (V7): the same as ../../seen-tags.ts, where it is explained; a property
-- test holds the two against each other.
local tags_per_resource = 16

local function strong(tag)
  if tag and string.sub(tag, 1, 2) ~= 'W/' then
    return tag
  end
  return nil
end

local function is_same_place(one, other)
  return one.view == other.view and one.selection == other.selection
end

local function where(list, test)
  local chosen = {}
  for _, item in ipairs(list) do
    if test(item) then
      chosen[#chosen + 1] = item
    end
  end
  return chosen
end

local function is_barred(seen, tag, hash)
  for _, known in ipairs(seen) do
    if known.isWrittenOver and known.tag == tag and (known.hash == nil or known.hash ~= hash) then
      return true
    end
  end
  return false
end

local function says(one, other)
  local is_as_strict = one.hash == nil or one.hash == other.hash
  return one.tag == other.tag and (one.isWrittenOver or not other.isWrittenOver) and is_as_strict
end

local function without_one(seen)
  local spare = 1
  for index, known in ipairs(seen) do
    local others = where(seen, function(other)
      return other ~= known and says(other, known)
    end)
    if #others > 0 then
      spare = index
      break
    end
  end
  local rest = {}
  for index, known in ipairs(seen) do
    if index ~= spare then
      rest[#rest + 1] = known
    end
  end
  return rest
end

local function added(seen, tag)
  local same = nil
  for _, known in ipairs(seen) do
    if known.tag == tag.tag and is_same_place(known, tag) then
      same = known
      break
    end
  end
  if same == nil then
    local kept = seen
    if #seen >= tags_per_resource then
      kept = without_one(seen)
    end
    kept = where(kept, function()
      return true
    end)
    kept[#kept + 1] = tag
    return kept
  end
  local others = where(seen, function(known)
    return known ~= same
  end)
  others[#others + 1] = {
    view = tag.view,
    selection = tag.selection,
    tag = tag.tag,
    hash = same.hash == tag.hash and tag.hash or nil,
    isWrittenOver = same.isWrittenOver or tag.isWrittenOver,
  }
  return others
end

local function tags_in(observations, is_written_over)
  local tags = {}
  for _, observation in ipairs(observations) do
    local tag = strong(observation.upstreamTag)
    if tag then
      local place = { view = observation.view, selection = observation.selecting.digest }
      local at = #tags + 1
      for index, known in ipairs(tags) do
        if known.tag == tag and is_same_place(known, place) then
          at = index
          break
        end
      end
      local earlier = tags[at] and tags[at].hash
      tags[at] = {
        view = place.view,
        selection = place.selection,
        tag = tag,
        hash = observation.hash or earlier,
        isWrittenOver = is_written_over,
      }
    end
  end
  return tags
end

local function all_added(seen, tags)
  for _, tag in ipairs(tags) do
    seen = added(seen, tag)
  end
  return seen
end

local function after_read(seen, observation)
  local tag = strong(observation.upstreamTag)
  if tag == nil or #seen == 0 then
    return seen
  end
  local place = { view = observation.view, selection = observation.selecting.digest }
  local here = where(seen, function(known)
    return is_same_place(known, place)
  end)
  local others = where(seen, function(known)
    return not is_same_place(known, place)
  end)
  if is_barred(seen, tag, observation.hash) then
    for _, known in ipairs(here) do
      if known.tag == tag then
        others[#others + 1] = known
      end
    end
    return others
  end
  for _, known in ipairs(here) do
    if known.isWrittenOver and known.tag ~= tag then
      return where(others, function(other)
        return not other.isWrittenOver or other.selection ~= place.selection
      end)
    end
  end
  return others
end

local function after_write(seen, observations)
  local before = seen
  for _, observation in ipairs(observations) do
    before = after_read(before, observation)
  end
  local overwritten = {}
  for index, known in ipairs(before) do
    overwritten[index] = {
      view = known.view,
      selection = known.selection,
      tag = known.tag,
      hash = not known.isWrittenOver and known.hash or nil,
      isWrittenOver = true,
    }
  end
  return all_added(overwritten, tags_in(observations, true))
end

local function after_doubt(seen, observations)
  return all_added(seen, tags_in(observations, false))
end

local function after_rest(seen)
  local overwritten = {}
  for index, known in ipairs(seen) do
    overwritten[index] = {
      view = known.view,
      selection = known.selection,
      tag = known.tag,
      hash = known.hash,
      isWrittenOver = true,
    }
  end
  return overwritten
end
