-- wrk's part of the benchmarks: `wrk ... -s wrk.lua URL -- FILE` sends the requests of FILE in turn, or with no FILE the
-- one of the command line; at the end one line of JSON.
-- FILE has a line for each request: the path, and after a blank a header line, if it has one.
local requests, sent = {}, 0

function init(arguments)
  if arguments[1] then
    for line in io.lines(arguments[1]) do
      local path, name, value = line:match('^(%S+) ?([^:]*):? ?(.*)$')
      local headers = {}
      for given, its in pairs(wrk.headers) do headers[given] = its end
      if name ~= '' then headers[name] = value end
      requests[#requests + 1] = wrk.format('GET', path, headers)
    end
  else
    requests[1] = wrk.format()
  end
end

-- The function is there for one request too, so that wrk's own work is the same.
function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
