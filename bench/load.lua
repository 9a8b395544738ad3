-- What wrk sends, told by its arguments behind `--`: the kind of request, then what it needs. At the end one line of JSON.
local kind, count, version, body
local prepared, sent = {}, 0

local function prepare(index)
  return wrk.format(nil, wrk.path .. index, nil, body)
end

function init(arguments)
  wrk.method = arguments[1]
  kind = arguments[2] or 'fixed'
  count = tonumber(arguments[3] or '1')
  version = arguments[4]
  body = wrk.method == 'PUT' and string.rep('x', 1024) or nil
  wrk.headers['Accept'] = 'application/json'
  wrk.headers['User-Agent'] = 'bench'
  if kind == 'fixed' then
    for index = 0, count - 1 do prepared[index] = prepare(index) end
  end
end

-- A client that has the current version each time: its tag is the one that its last write was given.
local function versioned(index, turn)
  local now = version .. '-' .. turn
  wrk.headers['X-Correlation-Id'] = now
  wrk.headers['X-Cloud-Trace-Context'] = version .. '-' .. (turn + 1)
  wrk.headers['If-Match'] = '"' .. now .. '"'
  return prepare(index)
end

function request()
  local index = sent % count
  local turn = math.floor(sent / count)
  sent = sent + 1
  if kind == 'fixed' then return prepared[index] end
  if kind == 'random' then return prepare(math.random(0, count - 1)) end
  if kind == 'walk' then return prepare((sent + tonumber(version)) % count) end
  return versioned(index, turn)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"bytes":%d,"refused":%d,"broken":%d,"p50":%.1f,"p99":%.1f}\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
