-- guess_lane: how a lane of the guessing throttle is kept; included by every script that touches one.
-- A lane is "failures:last", then " id:begun:state" for each attempt of the last minute, times in milliseconds:
--   failures  in a row, of attempts that are older
--   last      Redis time at which the last of them began
--   state     h  heard: whether the password is right is not told
--             f  failed: it was told that the password is wrong
-- An attempt that gets older becomes a failure, or nothing when it was only heard. So what nobody speaks of again (a
-- crash, Redis away) is forgotten by itself, and until then any attempt can be taken back as if it had never been.
local heard_milliseconds = 60000

local function now_milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Gives failures in a row and the time of the last, those of the last minute among them.
local function count_failures(lane)
  local failures, last = lane.failures, lane.last
  for _, attempt in ipairs(lane.attempts) do
    if attempt.state == 'f' then failures, last = failures + 1, math.max(last, attempt.begun) end
  end
  return failures, last
end

-- The millisecond at which a lane is forgotten. Memory is given in seconds, for each failure, and of a closed lane.
local function lane_end(lane, closes_at, memory, closed_memory)
  local failures, last = count_failures(lane)
  local ends = failures > 0 and last + (failures >= closes_at and closed_memory or memory * failures) * 1000 or 0
  for _, attempt in ipairs(lane.attempts) do ends = math.max(ends, attempt.begun + heard_milliseconds) end
  return ends
end

local function read_lane(text, now)
  local failures, last = string.match(text or '', '^(%d+):(%d+)')
  -- A clock that was set back makes no wait longer.
  local lane = {failures = tonumber(failures or 0), last = math.min(tonumber(last or 0), now), attempts = {}}
  for id, begun, state in string.gmatch(text or '', ' (%w+):(%d+):(%a)') do
    begun = math.min(tonumber(begun), now)
    if now < begun + heard_milliseconds then
      lane.attempts[#lane.attempts + 1] = {id = id, begun = begun, state = state}
    elseif state == 'f' then
      lane.failures, lane.last = lane.failures + 1, math.max(lane.last, begun)
    end
  end
  return lane
end

-- Gives an attempt of a lane and its place in it, or nil.
local function find_attempt(lane, id)
  for place, attempt in ipairs(lane.attempts) do
    if attempt.id == id then return attempt, place end
  end
end

-- Writes a lane, forgets those whose time is over, and lets the whole hash expire with the last one.
local function write_lane(key, name, lane, now, closes_at, memory, closed_memory)
  local words = {string.format('%.0f:%.0f', lane.failures, lane.last)}
  for _, attempt in ipairs(lane.attempts) do
    words[#words + 1] = string.format('%s:%.0f:%s', attempt.id, attempt.begun, attempt.state)
  end
  redis.call('HSET', key, name, table.concat(words, ' '))
  local fields, ends = redis.call('HGETALL', key), 0
  for i = 1, #fields, 2 do
    local one = lane_end(read_lane(fields[i + 1], now), closes_at, memory, closed_memory)
    if one <= now then redis.call('HDEL', key, fields[i]) end
    ends = math.max(ends, one)
  end
  if ends > now then redis.call('PEXPIREAT', key, string.format('%.0f', ends)) end
end
